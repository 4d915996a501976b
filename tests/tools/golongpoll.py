"""Loading files of golongpoll's FilePersistorAddOn: a line end before each event, ids of version 4,
lines that a kill has cut, anywhere."""
import json
import random
import time
import uuid

import tool

MS = 1_614_693_211_367


def line(ms, category, data='"x"', rng=random.Random(4)):
    """As Go's encoding/json writes it, with what it escapes."""
    name = json.dumps(category, ensure_ascii=False)
    for c in "<>&\u2028\u2029":
        name = name.replace(c, f"\\u{ord(c):04x}")
    made = uuid.UUID(int=rng.getrandbits(128), version=4)
    return f'\n{{"timestamp":{ms},"category":{name},"data":{data},"id":"{made}"}}'.encode()


class Import(tool.TestCase):
    def import_(self, content, kind=None, name="store"):
        """(the events, what was said) of a load that does what it can."""
        kind = kind or tool.kinds()[0]
        path = self.write(name + ".golongpoll", content)
        status, out, err = tool.run("store", "load", "golongpoll:" + path, self.spec(kind, name),
                                    "--json")
        self.told = json.loads(out)
        self.assertEqual(status, tool.DAMAGE if self.told["skipped"] else tool.DONE, err)
        events = [json.loads(each) for each in self.dump(self.spec(kind, name)).splitlines()]
        self.assertEqual(self.told["events"], len(events))
        seqs = [uuid.UUID(event["id"]) for event in events]
        self.assertEqual(sorted(set(seqs)), seqs)
        self.assertEqual({each.version for each in seqs} - {7}, set())
        for event, each in zip(events, seqs):
            self.assertEqual(each.int >> 80, event["timestamp"])
        return events, err.replace(path, "FILE")

    def test_events_keep_time_category_and_data_to_the_byte(self):
        datas = tool.ODD_DATA + ['{"z":1,"a":"\\u003cb\\u003e"}']
        categories = ["<a&b>", "\u2028", "caf\u00e9", "x" * 1024, "tab\t"]
        content = b"".join(line(MS + i, categories[i % 5], data) for i, data in enumerate(datas))
        for kind in tool.kinds():
            with self.subTest(kind):
                events, err = self.import_(content, kind, kind)
                self.assertEqual((err, self.told["skipped"]), ("", 0))
                self.assertEqual([event["timestamp"] for event in events],
                                 [MS + i for i in range(len(datas))])
                self.assertEqual([event["category"] for event in events],
                                 [categories[i % 5] for i in range(len(datas))])
                dumped = self.dump(self.spec(kind, kind)).decode().split("\n")
                for data, text in zip(datas, dumped):
                    self.assertIn(f'"data":{data},"id":"', text)

    def test_lines_beyond_64_kib_are_taken(self):
        content = b"".join(line(MS, "c", '"' + "x" * size + '"')
                           for size in [65535, 65536, 1 << 20, 5])
        events, err = self.import_(content)
        self.assertEqual([len(event["data"]) for event in events], [65535, 65536, 1 << 20, 5])
        self.assertEqual(err, "")

    def test_timestamps_never_go_back_and_may_repeat(self):
        times = [MS + 5, MS + 5, MS, MS + 4, MS + 6, MS + 6, 1, MS + 7]
        events, err = self.import_(b"".join(line(ms, "c", str(i)) for i, ms in enumerate(times)))
        self.assertEqual([event["data"] for event in events], list(range(8)))
        self.assertEqual([event["timestamp"] - MS for event in events], [5, 5, 5, 5, 6, 6, 6, 7])
        self.assertRegex(err, r"\Alongpoll: store load: FILE: 3 events have another timestamp")

    def test_a_millisecond_with_more_events_than_it_has_numbers(self):
        count = (1 << 15) + 10
        events, err = self.import_(b"".join(line(MS, "c", str(i)) for i in range(count)))
        self.assertEqual([event["data"] for event in events], list(range(count)))
        self.assertEqual(events[-1]["timestamp"], MS + 1)
        self.assertIn("10 events", err)

    def test_a_timestamp_in_the_future_becomes_now(self):
        events, err = self.import_(line(MS, "c") + line(MS * 3, "c") + line(MS * 3, "c"))
        self.assertLessEqual(events[2]["timestamp"], time.time() * 1000 + 1)
        self.assertIn("2 events have another timestamp", err)

    def test_a_last_line_that_was_cut_is_told_and_passed_over(self):
        whole = line(MS, "c", "1") + line(MS + 1, "c", "2")
        torn = line(MS + 2, "c", "3")
        for kind in tool.kinds():
            events, err = self.import_(whole + torn[:-20], kind, kind)
            self.assertEqual([event["data"] for event in events], [1, 2])
            self.assertRegex(err, r"\Alongpoll: store load: FILE:4: [^\n]*last line[^\n]*\n\Z")
            self.assertEqual(self.told["skipped"], 1)

    def test_lines_cut_within_the_file_and_blank_ones(self):
        content = (b"\n\n" + line(MS, "c", "1") + b"\n\r\n \n" + line(MS + 1, "c", "2") +
                   b'\n{"ti\nmestamp":16146' + line(MS + 2, "c", "3") + b"\n\n")
        events, err = self.import_(content)
        self.assertEqual([event["data"] for event in events], [1, 2, 3])
        self.assertEqual([each.split(": ")[2] for each in err.splitlines()], ["FILE:9", "FILE:10"])

    def test_what_is_not_valid_here_is_told_with_its_line(self):
        bad = [line(MS, ""), line(MS, "x" * 1025), line(0, "c"), line(-5, "c"), line(1 << 48, "c"),
               line(MS, "c", "01"), line(MS, "c", "NaN"), line(MS, "c", "[" * 513 + "]" * 513),
               b"\n[1]", b'\n{"category":"c","data":1}', b'\n{"timestamp":1,"data":1}',
               b'\n{"timestamp":1,"category":7,"data":1}', b'\n{"timestamp":1,"category":"c"}',
               b'\n{"timestamp":1.5,"category":"c","data":1}', line(MS, "\xff").replace(
                   "\xff".encode(), b"\xff")]
        events, err = self.import_(line(MS, "c", "1") + b"".join(bad) + line(MS, "c", "2") + b"\n")
        self.assertEqual([event["data"] for event in events], [1, 2])
        told = err.splitlines()
        self.assertEqual([each.split(": ")[2] for each in told[:-1]],
                         [f"FILE:{3 + i}" for i in range(10)])
        self.assertTrue(told[-1].endswith(": 5 more lines were skipped"), err)
        self.assertEqual(self.told["skipped"], len(bad))

    def test_very_many_bad_lines_are_not_all_told(self):
        _, err = self.import_(line(MS, "c") + b"\nx" * 1000)
        self.assertEqual(len(err.splitlines()), 11)
        self.assertIn("FILE: 990 more lines were skipped", err)
        self.assertEqual(self.told["skipped"], 1000)

    def test_up_to_ten_bad_lines_are_told_and_one_more_is_one(self):
        _, err = self.import_(line(MS, "c") + b"\nx" * 10, name="ten")
        self.assertEqual((len(err.splitlines()), "more" in err), (10, False), err)
        _, err = self.import_(line(MS, "c") + b"\nx" * 11, name="eleven")
        self.assertTrue(err.endswith("FILE: 1 more line was skipped\n"), err)

    def test_a_file_without_any_event_makes_no_store(self):
        path = self.write("other.txt", b"one\ntwo\n")
        for kind in tool.kinds():
            with self.subTest(kind):
                status, out, err = tool.run("store", "load", "golongpoll:" + path,
                                            self.spec(kind, kind))
                self.assertEqual((status, out), (tool.FAILED, b""), err)
                self.assertIn("nothing was loaded", err.splitlines()[-1])
                self.assertEqual(len(err.splitlines()), 3)
                self.assert_absent(kind)

    def test_a_single_moved_event_is_told_as_one(self):
        _, err = self.import_(line(MS, "c") + line(MS - 1, "c"))
        self.assertIn("FILE: 1 event has another timestamp than it had", err)

    def test_clients_are_told_of_what_was_passed_over(self):
        for name, content, above in [
                ("good", line(MS, "a") + line(MS + 1, "b") + line(MS + 2, "c"), -1),
                ("bad", line(MS, "a") + line(MS + 1, "b") + b"\nbad" + line(MS + 2, "c"), 1)]:
            events, _ = self.import_(content, name=name)
            specials = map(json.loads, self.dump(self.spec(tool.kinds()[0], name), "--all").splitlines())
            floors = [int(each["seq"]) for each in specials if each.get("longpoll") == "floor"]
            self.assertEqual(len(floors), 1)
            if above < 0:
                self.assertEqual(floors[0], tool.seq_of(MS) - 1)
            else: # above the second event, below the third
                self.assertEqual(floors[0], tool.seq_of(MS + 1) + 1)
                self.assertEqual(events[2]["timestamp"], MS + 2)

    def test_a_file_that_is_not_there_or_empty(self):
        self.fail_with(tool.FAILED, "store", "load", "golongpoll:" + self.path("none"),
                       self.spec("journal"), mentions=[self.path("none")])
        self.assert_absent("store")
        events, err = self.import_(b"\n")
        self.assertEqual((events, err), ([], ""))


if __name__ == "__main__":
    tool.main()
