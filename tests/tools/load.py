"""Loading dumps: what is refused, with its line, and what clients are told of."""
import json

import tool

MS = 1_700_000_000_000


class Refused(tool.TestCase):
    def setUp(self):
        super().setUp()
        self.lines = tool.events(5)

    def assert_refused(self, line, *mentions, content=None):
        path = self.write("bad.jsonl", content or b"".join([*self.lines, line, *self.lines[:0]]))
        for kind in tool.kinds():
            with self.subTest(kind=kind, mentions=mentions):
                self.fail_with(tool.FAILED, "store", "load", path, self.spec(kind, "to-" + kind),
                               mentions=[*mentions, "nothing was loaded"])
                self.assert_absent("to-" + kind)

    def test_a_line_that_is_no_event_is_named(self):
        good = self.lines[0]
        first = json.loads(good)
        for line, mentions in [
                (b"{\n", "no JSON object"),
                (b"[1]\n", "no JSON object"),
                (b'{"timestamp":1', "no JSON object"),
                (b"\xff\n", "no JSON object"),
                (b"{}\n", 'no "timestamp"'),
                (good.replace(b'"data"', b'"date"'), 'no "data"'),
                (good.replace(first["id"].encode(), b"17"), "17"),
                (good.replace(first["id"].encode(), b"a6670793-2e06-4653-bcae-7eed98d9f7d1"),
                 "version 4"),
                (tool.event_line(tool.seq_of(MS * 2), "c", "01"), "no JSON object"),
                (tool.event_line(tool.seq_of(MS * 2), "c" * 1025, "1"), "category"),
                (tool.event_line(tool.seq_of(MS * 2), "", "1"), "category"),
                (b'{"longpoll":"horizon","category":"c","seq":"5"}\n', "dump --all"),
                (b'{"longpoll":"what"}\n', '"what"')]:
            self.assert_refused(line, "bad.jsonl:6: ", mentions)

    def test_events_that_are_not_in_order_are_refused(self):
        self.assert_refused(self.lines[2], "bad.jsonl:6: ", "not above")
        self.assert_refused(self.lines[4], "bad.jsonl:6: ", "not above")

    def test_order_is_kept_also_beyond_a_batch(self):
        lines = tool.events(5000)
        self.assert_refused(b"", "bad.jsonl:5001: ", "not above",
                            content=b"".join(lines + lines[:1]))

    def test_blank_lines_count_and_are_passed_over(self):
        self.assert_refused(b"\n \r\n\nx\n", "bad.jsonl:9: ")

    def test_a_full_dump_that_was_cut_or_damaged_is_refused(self):
        whole = tool.full_dump(10).splitlines(keepends=True)
        self.assert_refused(b"", "was cut", content=b"".join(whole[:-1]))
        self.assert_refused(b"", "was cut", content=whole[0])
        self.assert_refused(b"", "bad.jsonl:18: ", content=b"".join(whole[:8] + whole[9:]))
        self.assert_refused(b"", "bad.jsonl:20: ", content=b"".join(whole + whole[-4:-3]))
        self.assert_refused(b"", "bad.jsonl:2: ", content=b"".join(whole[:1] + whole))
        self.assert_refused(b"", "bad.jsonl:1: ", "version",
                            content=b'{"longpoll":"dump","version":2}\n' + b"".join(whole[1:]))
        self.assert_refused(b"", "bad.jsonl:2: ", content=b"".join(whole).replace(
            b'"seq":"', b'"seq":"-', 1))
        for key in [b"00f", b"0gff", b"", b"00FF", b"00" * 256]:
            self.assert_refused(b"", "bad.jsonl:15: ", "key_hex", content=b"".join(whole).replace(
                b'"key_hex":"00ff"', b'"key_hex":"' + key + b'"'))

    def test_wrong_places_of_line_ends_are_refused(self):
        line = tool.event_line(tool.seq_of(MS * 2), "c", '{ "a":1}')
        for places in [b"[8]", b"[0]", b"[-1]", b"[1.5]", b'["1"]', b"1", b"[99999999999999999999]"]:
            self.assert_refused(line[:-2] + b',"newlines":' + places + b"}\n", "bad.jsonl:6: ",
                                "newlines")

    def test_a_file_that_cannot_be_read_is_named(self):
        self.fail_with(tool.FAILED, "store", "load", self.path("none"), self.spec("journal"),
                       mentions=[self.path("none")])
        self.fail_with(tool.FAILED, "store", "load", self.directory, self.spec("journal"),
                       mentions=["directory"])
        self.assert_absent("store")


class Gaps(tool.TestCase):
    def specials(self, spec):
        lines = map(json.loads, self.dump(spec, "--all").splitlines())
        return [line for line in lines if "longpoll" in line]

    def test_a_plain_dump_sets_horizons_below_what_it_has(self):
        seqs = [tool.seq_of(MS + i) for i in range(6)]
        content = b"".join(tool.event_line(seq, category, "1")
                           for seq, category in zip(seqs, ["a", "b", "a", "c", "b", "a"]))
        for kind in tool.kinds():
            with self.subTest(kind):
                told = self.specials(self.load(kind, content, kind))
                self.assertEqual(told[1:], [
                    {"longpoll": "floor", "seq": str(seqs[0] - 1)},
                    {"longpoll": "horizon", "category": "b", "seq": str(seqs[1] - 1)},
                    {"longpoll": "horizon", "category": "c", "seq": str(seqs[3] - 1)},
                    {"longpoll": "highest", "seq": str(seqs[5])},
                    {"longpoll": "end", "events": 6}])

    def test_a_dump_of_a_store_that_had_lost_something_raises_the_floor_above_all(self):
        whole = tool.full_dump(10).splitlines(keepends=True)
        whole.insert(-2, b'{"longpoll":"loss","records":3,"detail":"a page"}\n')
        for kind in tool.kinds():
            with self.subTest(kind):
                before = tool.now_seq(-1)
                told = self.specials(self.load(kind, b"".join(whole), kind))
                floor = int(told[1]["seq"])
                self.assertGreater(floor, before)
                self.assertEqual([line for line in told if line["longpoll"] == "horizon"], [])

    def test_lines_may_be_written_otherwise(self):
        content = tool.full_dump(12)
        rewritten = b"\r\n".join(
            json.dumps(dict(reversed(json.loads(line).items()))).encode()
            for line in content.splitlines() if b"12345678901234567890" not in line
            and b"1E400" not in line and b'"b":1' not in line and b"-0.0" not in line)
        rewritten = rewritten.replace(b'"events": 12', b'"events": 8')
        spec = self.load(tool.kinds()[0], rewritten)
        told = self.specials(spec)
        self.assertEqual(told[:4], [json.loads(line) for line in content.splitlines()[:4]])
        self.assertEqual(self.json("store", "info", spec)["events"], 8)

    def test_an_event_below_the_horizon_of_its_category_is_not_dumped(self):
        whole = tool.full_dump(30).splitlines(keepends=True)
        tenth = json.loads(whole[4 + 20])
        seq = tool.seq_of(tenth["timestamp"]) + 0x7FFF
        line = json.dumps({"longpoll": "horizon", "category": tenth["category"], "seq": str(seq)})
        whole.insert(-2, line.encode() + b"\n")
        for kind in tool.kinds():
            with self.subTest(kind):
                spec = self.load(kind, b"".join(whole), kind)
                left = [json.loads(each) for each in self.dump(spec).splitlines()]
                gone = [each for each in left if each["category"] == tenth["category"]
                        and each["timestamp"] <= tenth["timestamp"]]
                self.assertEqual((gone, len(left)), ([], 27))


if __name__ == "__main__":
    tool.main()
