"""A store that was loaded or copied is served: clients get its events, and are told of a gap where
it does not have all of them."""
import argparse
import http.client
import json
import re
import subprocess
import sys

import tool

MS = 1_700_000_000_000


class Served(tool.TestCase):
    def serve(self, spec):
        """Starts longpolld on a store; returns a function that polls it."""
        process = subprocess.Popen([longpolld, "--listen", "127.0.0.1:0", "--store", spec],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stdout.close()))
        port = int(re.search(rb"serves http://127.0.0.1:(\d+)", process.stdout.readline())[1])

        def poll(category, since_time):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=tool.DEADLINE_S)
            connection.request("GET", f"/events?timeout=1&category={category}&since_time={since_time}")
            answer = json.loads(connection.getresponse().read())
            connection.close()
            return [event["data"] for event in answer.get("events", [])], answer.get("gap", False)
        poll.process, poll.port = process, port
        return poll

    def publish(self, server, key, events):
        """(status, body) of a publish under an Idempotency-Key."""
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=tool.DEADLINE_S)
        connection.request("POST", "/publish", json.dumps(events),
                           {"Idempotency-Key": key, "Prefer": "return=representation"})
        answer = connection.getresponse()
        told = answer.status, json.loads(answer.read())
        connection.close()
        return told

    def test_events_come_and_older_cursors_are_told_of_a_gap(self):
        content = b"".join(tool.event_line(tool.seq_of(MS + 10 * i), "ab"[i % 2], str(i))
                           for i in range(10))
        for kind in tool.kinds():
            with self.subTest(kind):
                spec = self.load(kind, content, kind)
                copy = self.spec(kind, kind + "-copy")
                self.succeed("store", "copy", spec, copy)
                for each in [spec, copy]:
                    poll = self.serve(each)
                    self.assertEqual(poll("a", 1), ([0, 2, 4, 6, 8], True))
                    self.assertEqual(poll("b", MS), ([1, 3, 5, 7, 9], True))
                    self.assertEqual(poll("b", MS + 9), ([1, 3, 5, 7, 9], False))
                    self.assertEqual(poll("b", MS + 40), ([5, 7, 9], False))
                    self.assertEqual(poll("quiet", MS - 5), ([], True))
                    self.assertEqual(poll("quiet", MS + 5), ([], False))

    def test_a_publish_is_not_repeated_where_its_key_was_copied_or_loaded_to(self):
        kinds = tool.kinds()
        events = [{"category": "a", "data": n} for n in range(3)]
        for kind, other in zip(kinds, kinds[1:] + kinds[:1]):
            with self.subTest(kind):
                spec = self.spec(kind, kind + "-keys")
                server = self.serve(spec)
                first = {key: self.publish(server, key, events) for key in ["one", "two"]}
                self.assertEqual([status for status, _ in first.values()], [200, 200])
                server.process.terminate()
                self.assertEqual(server.process.wait(tool.DEADLINE_S), 0)
                self.assertEqual(self.json("store", "info", spec)["idempotency_keys"], 2)

                copied = self.spec(other, kind + "-copied")
                self.succeed("store", "copy", spec, copied)
                loaded = self.load(other, self.dump(spec, "--all"), kind + "-loaded")
                for each in [copied, loaded]:
                    server = self.serve(each)
                    for key, answer in first.items():
                        self.assertEqual(self.publish(server, key, events), answer)
                    self.assertEqual(self.publish(server, "two", events[:1])[0], 422)
                    self.assertEqual(server("a", 1)[0], [0, 1, 2, 0, 1, 2])

    def test_a_file_of_golongpoll_is_served_as_it_was(self):
        lines = "".join(f'\n{{"timestamp":{MS + i},"category":"a","data":{i},'
                        f'"id":"a6670793-2e06-4653-bcae-7eed98d9f7d1"}}' for i in range(4))
        path = self.write("file", lines.encode())
        for kind in tool.kinds():
            with self.subTest(kind):
                self.succeed("store", "load", "golongpoll:" + path, self.spec(kind, kind))
                poll = self.serve(self.spec(kind, kind))
                self.assertEqual(poll("a", MS + 1), ([2, 3], False))
                self.assertEqual(poll("a", 1), ([0, 1, 2, 3], True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--daemon", required=True, help="the longpolld to serve with")
    arguments, rest = parser.parse_known_args()
    longpolld = arguments.daemon
    sys.argv[1:] = rest
    tool.main()
