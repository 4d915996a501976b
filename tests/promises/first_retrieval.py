"""Delete-after-first-retrieval with a store: an event goes when an answer with it was written
whole, also while the server is ending, and not before (promise 8)."""
import json
import signal
import time

import daemon
import wire

EVENTS = 6
DATA = ["%d" % i + "x" * 1000000 for i in range(EVENTS)]
FLAGS = ("--delete-after-first-retrieval", "--max-answer-bytes", "16MiB")


def data_of(answer):
    return [event["data"] for event in answer.get("events", [])]


def heads(data):
    """The data, short enough for a message, or what is wrong with it."""
    return [one[:6] if one in DATA or len(one) < 20 else f"{len(one)} bytes, changed"
            for one in data]


ALL = heads(DATA)


class FirstRetrieval(daemon.TestCase):
    def publish_all(self, server):
        for data in DATA:
            status, body = server.publish("c", data)
            self.assertEqual(status, 200, body)

    def read_in_part(self, server):
        """A reader that has been sent the beginning of the answer, which does not fit into the
        buffers of its connection."""
        reader = wire.Connection(server, receive_bytes=1 << 14)
        self.addCleanup(reader.close)
        reader.send_poll("c", since_time=1)
        reader.receive()
        return reader

    def assert_all_there(self, server):
        """Not by a poll: one that is answered whole would take them."""
        reader = self.read_in_part(server)
        self.assertIn(b'"data":"0xxx', bytes(reader.unread))
        reader.close()

    def test_an_answer_under_way_at_sigterm_arrives_whole_and_is_not_given_again(self):
        server = self.start(*FLAGS)
        self.publish_all(server)
        reader = self.read_in_part(server)
        server.signal(signal.SIGTERM)
        self.wait_for(lambda: "shutting down" in server.log())
        # Some 100 reads with 20 ms between them: about two seconds, far less than it has.
        status, body = reader.answer(between=lambda: time.sleep(0.02))
        self.assertEqual(status, 200)
        self.assertEqual(heads(data_of(json.loads(body))), ALL)
        self.assertEqual(server.wait(), 0, server.log())
        again = self.start(*FLAGS)
        self.assertEqual(heads(again.kept("c", "mark")), [], "given once, and given again")

    def test_a_retrieved_event_is_not_given_again_after_sigterm(self):
        server = self.start(*FLAGS)
        self.publish_all(server)
        self.assertEqual(heads(data_of(server.poll("c", since_time=1))), ALL)
        self.assertIn("timeout", server.poll("c", since_time=1))
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0, server.log())
        self.assertEqual(heads(self.start(*FLAGS).kept("c", "mark")), [])

    def test_a_retrieved_event_is_not_given_again_after_kill_9(self):
        server = self.start(*FLAGS)
        self.publish_all(server)
        self.assertEqual(heads(data_of(server.poll("c", since_time=1))), ALL)
        # Removals go to the store in order with publishes: it has them when this one is kept.
        self.assertEqual(server.publish("other", 1)[0], 200)
        server.kill()
        again = self.start(*FLAGS)
        self.assertEqual(heads(again.kept("c", "mark")), [])
        self.assertEqual(again.kept("other", "mark"), [1])

    def test_what_a_reader_that_vanished_was_given_is_still_there_after_kill_9(self):
        server = self.start(*FLAGS)
        self.publish_all(server)
        self.read_in_part(server).close()
        # Its connection has been noticed as gone before another is served.
        self.assert_all_there(server)
        server.kill()
        again = self.start(*FLAGS)
        self.assertEqual(heads(again.kept("c", "mark")), ALL)

    def test_what_a_reader_that_vanished_was_given_goes_to_the_next(self):
        server = self.start(*FLAGS)
        self.publish_all(server)
        self.read_in_part(server).close()
        self.assertEqual(heads(data_of(server.poll("c", since_time=1))), ALL)
        self.assertIn("timeout", server.poll("c", since_time=1))

    def test_a_waiter_that_vanished_takes_nothing_along(self):
        server = self.start(*FLAGS)
        waiter = wire.Connection(server)
        waiter.send_poll("c", timeout=60)
        # It waits before this publish, which comes later, is answered.
        self.assertEqual(server.publish("other", 1)[0], 200)
        waiter.close()
        self.assertEqual(server.publish("other", 2)[0], 200)
        self.assertEqual(server.publish("c", "there")[0], 200)
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0, server.log())
        self.assertEqual(self.start(*FLAGS).kept("c", "mark"), ["there"])


if __name__ == "__main__":
    daemon.main()
