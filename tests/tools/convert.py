"""Every command with every kind of store, and from every kind into every other."""
import json
import os
import unittest

import tool


class Convert(tool.TestCase):
    def test_a_dump_is_what_was_loaded_to_the_byte(self):
        content = b"".join(tool.events(3000))
        for kind in tool.kinds():
            with self.subTest(kind):
                spec = self.load(kind, content, kind)
                self.assertEqual(self.dump(spec), content)

    def test_a_full_dump_is_what_was_loaded_to_the_byte(self):
        content = tool.full_dump()
        for kind in tool.kinds():
            with self.subTest(kind):
                spec = self.load(kind, content, kind)
                self.assertEqual(self.dump(spec, "--all"), content)

    def test_copies_round_all_kinds_are_equal_to_the_byte(self):
        content = tool.full_dump(3000)
        ring = tool.kinds()
        spec = self.load(ring[0], content, "0")
        for i, kind in enumerate(ring[1:] + ring + ring[:1], 1):
            before = self.snapshot()
            copied = self.json("store", "copy", spec, self.spec(kind, str(i)))
            self.assertEqual((copied["events"], copied["idempotency_keys"], copied["losses"]),
                             (3000, 3, []))
            after = self.snapshot()
            self.assertEqual({name: after.get(name) for name in before}, before,
                             "a copy changes nothing in what it reads")
            spec = self.spec(kind, str(i))
            self.assertEqual(self.dump(spec, "--all"), content, kind)

    def test_of_two_records_of_a_key_the_newer_counts_and_one_that_frees_it(self):
        def key(name, seq, count, expires_ms):
            return (f'{{"longpoll":"idempotency","key_hex":"{name}","digest":"7","seq":"{seq}",'
                    f'"count":{count},"expires_ms":{expires_ms}}}\n').encode()
        head = b'{"longpoll":"dump","version":1}\n'
        tail = b'{"longpoll":"highest","seq":"9"}\n{"longpoll":"end","events":0}\n'
        late, soon = 4_000_000_000_000, 3_000_000_000_000
        newest = key("61", 5, 1, soon)
        lines = head + key("61", 1, 1, late) + newest + key("62", 3, 1, late) + key("62", 3, 0, late)
        for kind in tool.kinds():
            with self.subTest(kind):
                spec = self.load(kind, lines + tail, kind)
                self.assertEqual(self.dump(spec, "--all"), head + newest + tail)
                self.assertEqual(self.json("store", "info", spec)["idempotency_keys"], 1)

    def test_line_ends_within_data_come_back(self):
        data = '{\n  "a": [\r\n    1,\n\n    2\n  ]\n}'
        line = tool.event_line(tool.seq_of(1_700_000_000_000), "c", data)
        places = [i for i, c in enumerate(data) if c == "\n"]
        dumped = (line[:-2].replace(b"\n", b" ") +
                  b',"newlines":[' + ",".join(map(str, places)).encode() + b"]}\n")
        first = self.load(tool.kinds()[0], dumped, "first")
        self.assertEqual(self.dump(first), dumped)
        self.assertEqual(len(dumped.splitlines()) - dumped.count(b"\r"), 1)
        for kind in tool.kinds():
            self.succeed("store", "copy", first, self.spec(kind, kind))
            self.assertEqual(self.dump(self.spec(kind, kind)), dumped)
            self.assertIn(data.encode(), b"".join(self.snapshot().values()))

    def test_an_event_of_a_mebibyte(self):
        seq = tool.seq_of(1_700_000_000_000)
        content = b"".join(tool.event_line(seq + i, "c", '"' + "x" * size + '"')
                           for i, size in enumerate([1 << 20, 3, 5 << 20, 0, (1 << 18) - 120]))
        for kind in tool.kinds():
            with self.subTest(kind):
                self.assertEqual(self.dump(self.load(kind, content, kind)), content)

    def test_an_empty_dump_makes_an_empty_store(self):
        for kind in tool.kinds():
            with self.subTest(kind):
                spec = self.load(kind, b"", kind)
                self.assertEqual(self.dump(spec), b"")
                self.assertEqual(self.json("store", "info", spec)["events"], 0)
                self.succeed("store", "copy", spec, self.spec(kind, kind + "-copy"))
                self.succeed("store", "verify", spec)

    def test_an_empty_directory_or_file_is_room_for_a_store(self):
        content = b"".join(tool.events(5))
        for kind in tool.kinds():
            name = self.path(kind)
            if kind == "sqlite":
                self.write(kind, b"")
            else:
                os.mkdir(name)
            os.chmod(name, 0o750)
            with self.subTest(kind):
                self.assertEqual(self.dump(self.load(kind, content, kind)), content)
                self.assertEqual(os.stat(name).st_mode & 0o777, 0o750)

    @unittest.skipIf(os.geteuid() != 0, "giving files to another user takes root")
    def test_whoever_has_the_empty_place_has_all_of_the_store(self):
        for kind in tool.kinds():
            with self.subTest(kind):
                folder = self.path("of-" + kind)
                os.mkdir(folder)
                place = os.path.join(folder, "store")
                if kind == "sqlite":
                    with open(place, "wb"):
                        pass
                else:
                    os.mkdir(place, 0o755)
                os.chown(place, 65534, 65534)
                self.succeed("store", "load", self.write("in", b"".join(tool.events(3))), f"{kind}:{place}")
                found = [place] + [os.path.join(at, name) for at, _, names in os.walk(folder)
                                   for name in names]
                self.assertGreater(len(found), 2)
                owners = {name: os.stat(name).st_uid for name in found}
                self.assertEqual(set(owners.values()), {65534}, owners)

    def test_a_store_that_is_there_is_left_alone(self):
        content = b"".join(tool.events(5))
        for kind in tool.kinds():
            spec = self.load(kind, content, kind)
            before = self.snapshot()
            with self.subTest(kind):
                for command in ["copy", "load"]:
                    source = spec if command == "copy" else self.write("dump", content)
                    self.fail_with(tool.FAILED, "store", command, source, spec,
                                   mentions=[self.path(kind), "not empty"])
                    os.path.exists(self.path("dump")) and os.remove(self.path("dump"))
                self.assertEqual(self.snapshot(), before)

    def test_options_of_a_store_are_taken(self):
        content = b"".join(tool.events(50))
        for kind in tool.kinds():
            spec = self.load(kind, content, kind)
            for level in ["always", "interval:2s", "never"]:
                with self.subTest(kind=kind, level=level):
                    to = self.spec(kind, f"{kind}-{level[:3]}") + "?sync=" + level
                    self.succeed("store", "copy", spec, to)
                    self.assertEqual(self.dump(to), content)


class Look(tool.TestCase):
    def test_info_tells_what_is_in_it(self):
        content = tool.full_dump(40)
        for kind in tool.kinds():
            with self.subTest(kind):
                spec = self.load(kind, content, kind)
                before = self.snapshot()
                told = self.json("store", "info", spec)
                self.assertEqual(self.snapshot(), before)
                self.assertEqual(told["store"], spec)
                self.assertEqual(told["events"], 40)
                self.assertEqual(told["categories"], len(tool.ODD_CATEGORIES))
                self.assertEqual(told["horizons"], 2)
                self.assertEqual(told["idempotency_keys"], 3)
                self.assertEqual(told["floor"], str(tool.seq_of(1_600_000_000_000)))
                self.assertEqual(told["losses"], [])
                self.assertEqual(told["figures"]["events"], 40)
                self.assertEqual(told["figures"]["highest"], told["highest"])
                self.assertGreater(told["figures"]["disk_bytes"], 0)
                self.assertIn(b"events               40\n", self.succeed("store", "info", spec))

    def test_verify_finds_nothing_in_a_good_store_and_changes_nothing(self):
        for kind in tool.kinds():
            spec = self.load(kind, tool.full_dump(2000), kind)
            before = self.snapshot()
            with self.subTest(kind):
                told = self.json("store", "verify", spec)
                self.assertEqual((told["good"], told["error"], told["losses"]), (True, "", []))
                self.assertIn(b"good                 yes\n", self.succeed("store", "verify", spec))
                self.assertEqual(self.snapshot(), before)

    def test_compact_keeps_everything(self):
        content = tool.full_dump(2000)
        for kind in tool.kinds():
            with self.subTest(kind):
                spec = self.load(kind, content, kind)
                told = self.json("store", "compact", spec)
                self.assertEqual(told["events"], 2000)
                self.assertLessEqual(told["disk_bytes"], told["disk_bytes_before"])
                self.assertEqual(self.dump(spec, "--all"), content)
                self.succeed("store", "verify", spec)

    def test_dump_writes_a_file_that_is_whole(self):
        content = b"".join(tool.events(200))
        spec = self.load(tool.kinds()[0], content)
        path = self.write("dump", b"older")
        self.assertEqual(self.dump(spec, "--output", path), b"")
        with open(path, "rb") as file:
            self.assertEqual(file.read(), content)
        self.assertEqual(sorted(os.listdir(self.directory)), ["dump", "store"])
        self.assertEqual(self.dump(spec, "--output=-"), content)
        self.fail_with(tool.FAILED, "store", "dump", spec, "--output", self.path("no/dump"),
                       mentions=[self.path("no/dump")])

    def test_every_line_of_a_full_dump_is_json(self):
        spec = self.load(tool.kinds()[0], tool.full_dump())
        for line in self.dump(spec, "--all").split(b"\n")[:-1]:
            self.assertIsInstance(json.loads(line), dict)


if __name__ == "__main__":
    tool.main()
