"""The disk says no, for real: EIO by strace on the calls that the store makes, short writes and
EFBIG by RLIMIT_FSIZE, a full disk on a tmpfs of a few megabytes, and no descriptors left.

A publish that could not be kept is answered 503 with the reason, is seen by nobody, and does not
come back at the next start; its Idempotency-Key is free. Everything else goes on. Where the disk
takes back no write either, the answer says that it is in doubt, and nothing is published any more
until a restart.
"""
import itertools
import json
import os
import resource
import subprocess

import daemon

BIG = "x" * 20000


class FailingIO(daemon.TestCase):
    FLAGS = ("--event-buffer", "100000", "--max-answer-bytes", "64MiB")

    def publish_some(self, server, count, first=0, pad=""):
        """Publishes first, first + 1, … one after the other: the numbers that were kept, and a
        dictionary from those that were refused to the reason."""
        kept, refused = [], {}
        connection = server.connection()
        for n in range(first, first + count):
            status, body = server.publish("c", {"n": n, "pad": pad}, connection)
            self.assertIn(status, (200, 503), body)
            if status == 200:
                kept.append(n)
            else:
                refused[n] = json.loads(body)["error"]
                self.assertGreater(len(refused[n]), 10, "no reason is given")
        connection.close()
        return kept, refused

    def assert_kept(self, kept, store=None, in_doubt=()):
        """A new start finds exactly these, and perhaps those in doubt."""
        server = self.start(*self.FLAGS, store=store or self.store)
        there = [data["n"] for data in server.kept("c", {"n": -1})]
        server.kill()
        self.assertEqual([n for n in there if n not in in_doubt], kept)

    def in_doubt(self, server, refused):
        """Which were refused as being in doubt: one at most, and then the server says so."""
        numbers = [n for n, reason in refused.items() if "in doubt" in reason]
        code, body = server.request("GET", "/health")
        health = json.loads(body)
        self.assertLessEqual(len(numbers), 1)
        if numbers:
            self.assertEqual((code, health["status"]), (503, "in doubt"))
        elif code == 200 or not refused:
            self.assertEqual((code, health["status"]), (200, "serving"))
        else:  # for a while, or until something is kept again
            self.assertEqual((code, health["status"]), (503, "unable to keep"))
            self.assertIn(health["reason"], refused.values())
        return numbers

    def assert_seen(self, server, kept, refused):
        """A subscriber sees exactly what was kept, also while the disk says no."""
        seen, cursor = [], {"since_time": 1}
        # What comes behind a refused event shows that it was passed over; else the poll times out.
        while kept[-1:] != seen[-1:] or max(refused, default=-1) > max(kept, default=-1):
            answer = server.poll("c", **cursor)
            if "events" not in answer:
                break
            seen += [event["data"]["n"] for event in answer["events"]]
            last = answer["events"][-1]
            cursor = {"since_time": last["timestamp"], "last_id": last["id"]}
        self.assertEqual(seen, kept)


class InjectedErrors(FailingIO):
    """strace makes the n-th call of a kind fail."""

    def setUp(self):
        super().setUp()
        why = daemon.strace_refuses()
        if why:
            self.skipTest(why)
        self.runs = 0

    def run_with(self, inject, sync):
        """Publishes while `inject` is at work, kills it, looks at what a new start finds."""
        path = os.path.join(self.directory, f"run-{self.runs}", "store")
        store = daemon.store_at(path, sync, "64KiB")
        trace = os.path.join(self.directory, f"trace-{self.runs}")
        self.runs += 1
        try:
            server = self.start(*self.FLAGS, store=store, prefix=daemon.strace(inject, trace))
            kept, refused = self.publish_some(server, 25, pad=BIG[:5000])
            self.assert_seen(server, kept, refused)
            in_doubt = self.in_doubt(server, refused)
            server.kill()
        except daemon.Failed as failed:
            # It may refuse to start, with a sentence, but only that.
            self.assertIn("longpolld ended with 1:", str(failed))
            self.assertRegex(str(failed), r'longpolld: store ".*": .*')
            kept, refused, in_doubt = [], {}, []
        with open(trace, encoding="utf-8", errors="replace") as file:
            self.assertIn("INJECTED", file.read(), "the call was never made")
        self.assert_kept(kept, store, in_doubt)
        return kept, refused

    def each_call(self, call, error, sync):
        """Lets the n-th call fail, once and from then on, for several n."""
        for n in (1, 2, 3, 5, 8, 13):
            for repeat in ("", "+"):
                rule = f"{call}:error={error}:when={n}{repeat}"
                with self.subTest(rule):
                    self.run_with(rule, sync)

    def test_write_errors_lose_nothing_that_was_acknowledged(self):
        self.each_call("pwrite64", "EIO", "never")

    def test_a_full_disk_at_any_write_loses_nothing(self):
        self.each_call("pwrite64", "ENOSPC", "always")

    def test_sync_errors_lose_nothing_that_was_acknowledged(self):
        self.each_call("fdatasync", "EIO", "always")

    def test_one_failed_write_costs_one_batch_at_most(self):
        # The twelfth write of a start on SQLite still makes the database.
        n = 60 if daemon.kind == "sqlite" else 12
        kept, refused = self.run_with(f"pwrite64:error=EIO:when={n}", "always")
        self.assertLessEqual(len(refused), 1)
        self.assertGreaterEqual(len(kept), 24)


class ShortWrites(FailingIO):
    def test_a_file_size_limit_refuses_publishes_and_keeps_the_rest(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (300000, 300000))

        store = daemon.store_at(self.store_path, "always", "16MiB")
        try:
            server = self.start(*self.FLAGS, store=store, preexec_fn=limit)
        except daemon.Failed as failed:
            self.assertRegex(str(failed), r'longpolld: store ".*": .*')
            return
        kept, refused = self.publish_some(server, 60, pad=BIG)
        in_doubt = self.in_doubt(server, refused)
        self.assert_seen(server, kept, refused)
        server.kill()
        self.assert_kept(kept, store, in_doubt)


class FullDisk(FailingIO):
    """A tmpfs of 8 MiB, and a file on it that takes the space away and gives it back."""

    def setUp(self):
        super().setUp()
        self.disk = os.path.join(self.directory, "disk")
        os.mkdir(self.disk)
        if os.geteuid() != 0:
            self.skipTest("mounting a tmpfs takes root")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", self.disk],
                              capture_output=True, text=True)
        if done.returncode != 0:
            self.skipTest("no tmpfs: " + done.stderr.strip())
        self.addCleanup(subprocess.run, ["umount", "-l", self.disk])
        self.store = daemon.store_at(os.path.join(self.disk, "store"), "always", "256KiB")

    def fill(self):
        with open(os.path.join(self.disk, "ballast"), "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass

    def test_a_full_disk_refuses_publishes_serves_polls_and_goes_on_by_itself(self):
        server = self.start(*self.FLAGS)
        kept, refused = self.publish_some(server, 10)
        self.assertEqual(refused, {})
        self.fill()
        while not refused:
            more, refused = self.publish_some(server, 10, first=kept[-1] + 1, pad=BIG)
            kept += more
        status, body = server.publish("c", {"n": -2, "pad": BIG})
        self.assertEqual(status, 503)
        self.assertRegex(json.loads(body)["error"].lower(), "no space|full|space")
        self.assert_seen(server, kept, refused)
        # An idle poll still gets its timeout answer.
        self.assertIn("timeout", server.poll("other"))

        os.unlink(os.path.join(self.disk, "ballast"))
        numbers = itertools.count(100000)

        def goes_on():
            more, _ = self.publish_some(server, 1, first=next(numbers))
            kept.extend(more)
            return bool(more)

        self.wait_for(goes_on)
        self.assert_healthy(server)
        self.assert_seen(server, kept, refused)
        server.kill()
        self.assert_kept(kept)


    def publish_with_key(self, server, key, numbers):
        """(status, the ids of what was published) of one publish of several events."""
        events = [{"category": "c", "data": {"n": n, "pad": BIG}} for n in numbers]
        status, body = server.request("POST", "/publish", json.dumps(events), {
            "Idempotency-Key": key, "Prefer": "return=representation"})
        answer = json.loads(body)
        if status == 200:
            self.assertEqual([event["data"]["n"] for event in answer["events"]], numbers)
            return status, [event["id"] for event in answer["events"]]
        self.assertEqual(status, 503, answer)
        self.assertRegex(answer["error"].lower(), "no space|full|space")
        return status, None

    def test_a_key_that_was_refused_publishes_once_when_there_is_room(self):
        server = self.start(*self.FLAGS)
        kept, refused = self.publish_some(server, 3)
        self.assertEqual(refused, {})
        self.fill()
        status, numbers = 200, kept
        while status == 200:  # until the room that the store has of its own is used up
            numbers = [n + 3 for n in numbers]
            key = f"key {numbers[0]}"
            status, _ = self.publish_with_key(server, key, numbers)
            kept = kept + numbers if status == 200 else kept
        later = [n + 3 for n in numbers]
        for _ in range(3):
            self.assertEqual(self.publish_with_key(server, key, numbers)[0], 503)
            self.assertEqual(self.publish_with_key(server, "later", later)[0], 503)
        self.assert_seen(server, kept, dict.fromkeys(numbers))
        os.unlink(os.path.join(self.disk, "ballast"))

        answers = []

        def goes_on():
            answers.append(self.publish_with_key(server, key, numbers))
            return answers[-1][0] == 200

        self.wait_for(goes_on)
        ids = answers[-1][1]
        kept += numbers
        self.assertEqual(self.publish_with_key(server, key, numbers), (200, ids))
        self.assert_seen(server, kept, {})
        self.assert_healthy(server)
        server.kill()

        server = self.start(*self.FLAGS)
        self.assertEqual(self.publish_with_key(server, key, numbers), (200, ids))
        there = server.history("c", {"n": numbers[-1], "pad": BIG})
        self.assertEqual([event["data"]["n"] for event in there], kept)
        self.assertEqual([event["id"] for event in there[-3:]], ids)
        other, _ = server.request("POST", "/publish", json.dumps({"category": "c", "data": 1}),
                                  {"Idempotency-Key": key})
        self.assertEqual(other, 422)
        self.assertEqual(self.publish_with_key(server, "later", later)[0], 200)
        kept += later
        self.assert_seen(server, kept, {})
        server.kill()
        self.assert_kept(kept)


class NoDescriptors(FailingIO):
    def test_without_free_descriptors_the_store_and_open_connections_go_on(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

        store = daemon.store_at(self.store_path, segment="64KiB")
        server = self.start(*self.FLAGS, store=store, preexec_fn=limit)
        connection = server.connection()
        self.assertEqual(server.publish("c", {"n": 0}, connection)[0], 200)
        crowd = [server.connect() for _ in range(150)]
        # Its segments are small: it opens new ones all the time.
        kept = [0]
        for n in range(1, 60):
            status, body = server.publish("c", {"n": n, "pad": BIG}, connection)
            self.assertEqual(status, 200, body)
            kept.append(n)
        for one in crowd:
            one.close()
        connection.close()
        self.wait_for(server.is_healthy)
        server.kill()
        self.assert_kept(kept, store)


if __name__ == "__main__":
    daemon.main()
