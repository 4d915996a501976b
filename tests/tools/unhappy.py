"""What is left when a command is killed, interrupted, starved of disk or given a damaged store."""
import os
import pty
import resource
import select
import signal
import subprocess
import time

import tool

ENDED_BY_SIGINT = 128 + signal.SIGINT


def is_being_made(test, name):
    """Whether there is something beside the place of a store, of any kind."""
    return any(each.startswith(name + ".longpoll-loading") for each in os.listdir(test.directory))


class Ended(tool.TestCase):
    def wait_for(self, condition):
        end = time.monotonic() + tool.DEADLINE_S
        while not condition():
            self.assertLess(time.monotonic(), end, "it did not come to pass")
            time.sleep(0.002)

    def loading(self, kind, name):
        """A load that has had events for several batches and waits for more."""
        process = tool.start("store", "load", "-", self.spec(kind, name), stdin=subprocess.PIPE)
        process.stdin.write(b"".join(tool.events(5000)))
        process.stdin.flush()
        self.wait_for(lambda: is_being_made(self, name))
        return process

    def test_a_load_that_is_killed_leaves_no_store_and_the_next_one_cleans_up(self):
        content = b"".join(tool.events(3000))
        for kind in tool.kinds():
            with self.subTest(kind):
                process = self.loading(kind, kind)
                process.kill()
                process.communicate()
                self.assertFalse(os.path.exists(self.path(kind)))
                self.assertTrue(is_being_made(self, kind))
                self.assertEqual(self.dump(self.load(kind, content, kind)), content)
                self.assertFalse(is_being_made(self, kind))

    def test_a_load_that_is_interrupted_cleans_up_itself(self):
        for kind in tool.kinds():
            for number in [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]:
                with self.subTest(kind=kind, number=number):
                    process = self.loading(kind, kind)
                    process.send_signal(number)
                    self.assertEqual(process.wait(tool.DEADLINE_S), 128 + number)
                    out, err = process.stdout.read(), process.stderr.read().decode()
                    process.stdin.close()
                    process.stdout.close()
                    process.stderr.close()
                    self.assertRegex(err, r"\Alongpoll: store load: ended by [^\n]+\n\Z")
                    self.assertEqual(out, b"")
                    self.assert_absent(kind)

    def test_a_second_load_into_the_same_place_waits_for_nobody(self):
        for kind in tool.kinds():
            with self.subTest(kind):
                process = self.loading(kind, kind)
                self.fail_with(tool.FAILED, "store", "load", "-", self.spec(kind, kind),
                               mentions=["in use", str(process.pid)])
                process.communicate()
                self.assertEqual(process.returncode, tool.DONE)
                self.assertEqual(self.dump(self.spec(kind, kind)).count(b"\n"), 5000)

    def test_a_copy_that_is_killed_leaves_a_whole_store_or_none(self):
        content = b"".join(tool.events(30000))
        for kind in tool.kinds():
            spec = self.load(kind, content, "from-" + kind)
            for delay_ms in [0, 1, 10, 40, 80]:
                name = f"{kind}-{delay_ms}"
                with self.subTest(name):
                    process = tool.start("store", "copy", spec, self.spec(kind, name))
                    self.wait_for(lambda: is_being_made(self, name) or process.poll() is not None)
                    try:
                        process.wait(delay_ms / 1000)
                    except subprocess.TimeoutExpired:
                        process.kill()
                    process.communicate()
                    if os.path.exists(self.path(name)):
                        self.assertEqual(self.dump(self.spec(kind, name)), content)
                    else:
                        self.succeed("store", "copy", spec, self.spec(kind, name))
                        self.assertEqual(self.dump(self.spec(kind, name)), content)
                    self.assertFalse(is_being_made(self, name))
                    self.assertEqual(self.dump(spec), content)

    def test_a_copy_whose_disk_is_full_fails_and_leaves_nothing(self):
        def starve():
            resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))
        content = b"".join(tool.events(30000))
        for kind in tool.kinds():
            spec = self.load(kind, content, "from-" + kind)
            with self.subTest(kind):
                process = tool.start("store", "copy", spec, self.spec(kind, kind),
                                     preexec_fn=starve)
                out, err = process.communicate(timeout=tool.DEADLINE_S)
                self.assertEqual((process.returncode, out), (tool.FAILED, b""), err)
                self.assertRegex(err.decode(), r"longpoll: store copy: [^\n]+\n\Z")
                self.assert_absent(kind)

    def test_a_dump_whose_disk_is_full_leaves_the_older_file(self):
        def starve():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        spec = self.load(tool.kinds()[0], b"".join(tool.events(30000)))
        path = self.write("dump", b"older")
        process = tool.start("store", "dump", spec, "--output", path, preexec_fn=starve)
        out, err = process.communicate(timeout=tool.DEADLINE_S)
        self.assertEqual((process.returncode, out), (tool.FAILED, b""))
        self.assertIn(path, err.decode())
        self.assertEqual(sorted(os.listdir(self.directory)), ["dump", "store"])
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"older")

    def test_a_reader_that_has_seen_enough_ends_a_dump_quietly(self):
        spec = self.load(tool.kinds()[0], b"".join(tool.events(30000)))
        process = tool.start("store", "dump", spec)
        process.stdout.read(100)
        process.stdout.close()
        self.assertEqual(process.stderr.read(), b"")
        process.stderr.close()
        self.assertEqual(process.wait(tool.DEADLINE_S), 128 + signal.SIGPIPE)

    def test_a_dump_that_nobody_reads_ends_with_a_signal(self):
        spec = self.load(tool.kinds()[0], b"".join(tool.events(30000)))
        process = tool.start("store", "dump", spec)
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(tool.DEADLINE_S), ENDED_BY_SIGINT)
        process.stdout.close()
        self.assertIn(b"ended by", process.stderr.read())
        process.stderr.close()

    def test_a_result_that_cannot_be_written_is_a_failure(self):
        spec = self.load(tool.kinds()[0], b"".join(tool.events(5)))
        with open("/dev/full", "wb") as full:
            done = subprocess.run([tool.longpoll, "store", "info", spec], stdout=full,
                                  stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, tool.FAILED)
        self.assertIn(b"standard output", done.stderr)


class Damaged(tool.TestCase):
    def damage(self, kind, count=3000):
        """A store in which one bit of one event's data is flipped."""
        mark = b"the mark that is looked for"
        lines = tool.events(count)
        at = count // 2
        seq = tool.seq_of(1_700_000_000_000)
        lines = [tool.event_line(seq + i, f"c{i % 3}", f'"{i}, {mark.decode()}"')
                 for i in range(count)]
        self.content = b"".join(lines)
        spec = self.load(kind, self.content, kind)
        found = 0
        for name, content in self.snapshot().items():
            place = content.find(b'"%d, ' % at + mark)
            if not name.startswith(kind) or place < 0:
                continue
            with open(self.path(name), "r+b") as file:
                file.seek(place + 10)
                file.write(bytes([content[place + 10] ^ 1]))
            found += 1
        self.assertEqual(found, 1)
        return spec, lines[:at] + lines[at + 1:]

    def test_verify_says_so_and_leaves_the_store_as_it_is(self):
        for kind in tool.kinds():
            spec, _ = self.damage(kind)
            before = self.snapshot()
            with self.subTest(kind):
                status, out, err = tool.run("store", "verify", spec)
                self.assertEqual(status, tool.DAMAGE, err)
                self.assertRegex(err, r"\A(longpoll: store verify: [^\n]+\n)+\Z")
                self.assertIn(self.path(kind), err)
                self.assertIn(b"good                 no\n", out)
                status, out, _ = tool.run("store", "verify", spec, "--json")
                self.assertEqual(status, tool.DAMAGE)
                told = tool.json.loads(out)
                self.assertIs(told["good"], False)
                self.assertTrue(told["losses"] or told["error"])
                self.assertEqual(self.snapshot(), before)

    def test_what_is_left_is_dumped_and_copied_and_the_gap_is_told(self):
        for kind in tool.kinds():
            spec, left = self.damage(kind)
            before = self.snapshot()
            with self.subTest(kind):
                status, out, err = tool.run("store", "dump", spec)
                self.assertEqual((status, out), (tool.DAMAGE, b"".join(left)), err)
                self.assertIn("history may be missing", err)
                status, out, err = tool.run("store", "dump", spec, "--all")
                self.assertEqual(status, tool.DAMAGE)
                self.assertIn(b'{"longpoll":"loss","records":', out)
                self.assertEqual(self.snapshot(), before)
                earliest = tool.now_seq(-1)
                whole = self.load(kind, out, kind + "-loaded")
                to = self.spec(kind, kind + "-copy")
                status, out, err = tool.run("store", "copy", spec, to, "--json")
                self.assertEqual(status, tool.DAMAGE, err)
                self.assertEqual(len(tool.json.loads(out)["losses"]), 1)
                for each in [whole, to]:
                    self.assertEqual(self.dump(each), b"".join(left))
                    self.succeed("store", "verify", each)
                    floor = int(self.json("store", "info", each)["floor"])
                    self.assertGreater(floor, earliest)
                    self.assertLess(floor, tool.now_seq(1))

    def test_info_shows_it_with_the_status_of_damage(self):
        for kind in tool.kinds():
            spec, left = self.damage(kind)
            before = self.snapshot()
            with self.subTest(kind):
                for flags in [[], ["--json"]]:
                    status, out, err = tool.run("store", "info", spec, *flags)
                    self.assertEqual(status, tool.DAMAGE, err)
                    self.assertIn(b"losses", out)
                told = tool.json.loads(out)
                self.assertEqual(told["events"], len(left))
                self.assertIn("lost_records", told)
                self.assertEqual(self.snapshot(), before)

    def test_what_is_said_is_for_who_runs_the_server(self):
        for kind in tool.kinds():
            spec, left = self.damage(kind)
            with self.subTest(kind):
                _, out, err = tool.run("store", "verify", spec)
                self.assertNotRegex(out.decode() + err, r"with a manager|\b1 problems")
                _, _, err = tool.run("store", "compact", spec)
                self.assertIn(f"{len(left)} of its events can be read", err)
                self.assertIn("start longpolld on it", err)

    def test_a_good_store_has_no_empty_line_for_an_error(self):
        for kind in tool.kinds():
            spec = self.load(kind, b"".join(tool.events(5)), kind)
            with self.subTest(kind):
                out = self.succeed("store", "verify", spec).decode()
                self.assertNotRegex(out, r"(?m)^error")
                self.assertIn("good                 yes\n", out)
                self.assertEqual(self.json("store", "verify", spec)["error"], "")

    def test_a_store_of_which_nothing_can_be_read_is_said_to_be_so(self):
        if "lmdb" not in tool.kinds():
            self.skipTest("needs lmdb")
        spec = self.load("lmdb", b"".join(tool.events(50)), "lmdb")
        size = os.path.getsize(self.path("lmdb/data.mdb"))
        self.write("lmdb/data.mdb", b"\xa5" * size)
        status, out, err = tool.run("store", "compact", spec)
        self.assertEqual((status, out), (tool.DAMAGE, b""), err)
        self.assertIn("none of its events can be read", err)
        self.assertNotIn("into a new store", err)
        status, _, err = tool.run("store", "info", spec)
        self.assertEqual(status, tool.DAMAGE, err)

    def test_compact_leaves_it_alone(self):
        for kind in tool.kinds():
            spec, _ = self.damage(kind)
            before = self.snapshot()
            with self.subTest(kind):
                status, out, err = tool.run("store", "compact", spec)
                self.assertEqual((status, out), (tool.DAMAGE, b""))
                self.assertIn("left alone", err)
                self.assertEqual(self.snapshot(), before)

    def test_a_store_whose_files_are_garbage_is_damage_and_changes_nothing(self):
        for kind in tool.kinds():
            spec = self.load(kind, tool.full_dump(2000), kind)
            for name, content in self.snapshot().items():
                if name.startswith(kind) and len(content) > 4096:
                    self.write(name, b"\xa5" * len(content))
            before = self.snapshot()
            with self.subTest(kind):
                status, _, err = tool.run("store", "verify", spec)
                self.assertIn(status, [tool.DAMAGE, tool.FAILED], err)
                if status == tool.FAILED:
                    self.assertIn(self.path(kind), err)
                self.assertEqual(self.snapshot(), before)


class InUse(tool.TestCase):
    def test_a_store_that_is_written_to_is_not_read(self):
        for kind in tool.kinds():
            # What is being loaded is a store in use, under the name that it has until then.
            process = tool.start("store", "load", "-", self.spec(kind, kind),
                                 stdin=subprocess.PIPE)
            made = self.spec(kind, kind + ".longpoll-loading")
            end = time.monotonic() + tool.DEADLINE_S
            while "in use" not in tool.run("store", "info", made)[2]:
                self.assertLess(time.monotonic(), end)
            with self.subTest(kind):
                for command in ["info", "verify", "dump", "compact"]:
                    self.fail_with(tool.FAILED, "store", command, made,
                                   mentions=["in use", str(process.pid)])
            process.communicate()


class Progress(tool.TestCase):
    def test_a_bar_is_drawn_on_a_terminal_and_taken_away_again(self):
        path = self.path("pipe")
        os.mkfifo(path)
        try:
            ours, theirs = pty.openpty()
        except OSError as error:
            self.skipTest(f"no terminal to be had: {error}")
        process = subprocess.Popen(
            [tool.longpoll, "store", "load", path, self.spec(tool.kinds()[0])],
            stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)
        shown, lines = b"", tool.events(30000)
        with open(path, "wb") as file:
            file.write(b"".join(lines[:10000]))
            file.flush()
            time.sleep(0.15)  # the bar is drawn when so much time has passed, on the next event
            file.write(b"".join(lines[10000:]))
        while True:
            try:
                some = os.read(ours, 4096) if select.select([ours], [], [], tool.DEADLINE_S)[0] else b""
            except OSError:
                break
            if not some:
                break
            shown += some
        os.close(ours)
        self.assertEqual(process.wait(tool.DEADLINE_S), tool.DONE)
        self.assertIn(b"\rloading ", shown)
        self.assertTrue(shown.endswith(b"\r\x1b[K"), shown)


if __name__ == "__main__":
    tool.main()
