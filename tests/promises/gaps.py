"""What a ring has lost, or what has expired, is told, and stays lost, when the next start has a larger
ring or a longer time to live (promises 4 and 8)."""
import json
import signal
import time

import daemon
import wire

PUBLISHED = 250
RING = 10


def cursor(event):
    return {"since_time": event["timestamp"], "last_id": event["id"]}


class Evicted(daemon.TestCase):
    def assert_told(self, end):
        """Publishes 250 events into a ring of 10, ends the server by `end`, starts it with a ring
        that has room for all, and asks with the cursors of before."""
        server = self.start("--event-buffer", str(RING))
        connection = wire.Connection(server)
        empty = connection.poll("empty")["timestamp"]
        connection.publish("quiet", 1)
        quiet = connection.poll("quiet", since_time=1)["events"][0]
        loud, position = [], {"since_time": 1}
        for n in range(PUBLISHED):
            connection.publish("loud", n)
            answer = connection.poll("loud", **position)
            self.assertNotIn("gap", answer)
            loud += answer["events"]
            position = cursor(loud[-1])
        connection.close()
        self.assertEqual([event["data"] for event in loud], list(range(PUBLISHED)))
        end(server)

        server = self.start("--event-buffer", str(PUBLISHED))
        connection = wire.Connection(server)
        self.addCleanup(connection.close)
        last = list(range(PUBLISHED - RING, PUBLISHED))
        for seen in (loud[0], loud[100], loud[PUBLISHED - RING - 2]):
            answer = connection.poll("loud", **cursor(seen))
            self.assertEqual([event["data"] for event in answer["events"]], last)
            self.assertIs(answer.get("gap"), True, f"behind {seen['data']}")
        self.assertIs(connection.poll("loud", since_time=1).get("gap"), True)
        # The one that has seen all that went misses nothing.
        answer = connection.poll("loud", **cursor(loud[PUBLISHED - RING - 1]))
        self.assertEqual([event["data"] for event in answer["events"]], last)
        self.assertNotIn("gap", answer)

        self.assertEqual(connection.poll("quiet", since_time=1),
                         {"events": [quiet]})
        # These wait until they time out, all at once.
        waiting = {}
        for category, query in (("quiet", cursor(quiet)), ("empty", {"since_time": empty}),
                                ("loud", position)):
            waiting[category] = wire.Connection(server)
            self.addCleanup(waiting[category].close)
            waiting[category].send_poll(category, **query)
        for category, waiter in waiting.items():
            answer = json.loads(waiter.answer()[1])
            self.assertIn("timeout", answer)
            self.assertNotIn("gap", answer, f"a false alarm in {category}")

    def test_a_larger_ring_brings_nothing_back_and_old_cursors_are_told_after_sigterm(self):
        def stop(server):
            server.signal(signal.SIGTERM)
            self.assertEqual(server.wait(), 0, server.log())

        self.assert_told(stop)

    def test_a_larger_ring_brings_nothing_back_and_old_cursors_are_told_after_kill_9(self):
        def kill(server):
            # What went is told to the store within a second or so, also when nothing is published
            # any more. Nothing outside shows when it has been, so this is a time.
            time.sleep(2.5)
            server.kill()

        self.assert_told(kill)


class Expired(daemon.TestCase):
    def test_what_expired_stays_away_after_kill_9_and_a_longer_ttl_and_is_told(self):
        server = self.start("--event-ttl", "1")
        connection = wire.Connection(server)
        connection.publish("loud", "old")
        loud = connection.poll("loud", since_time=1)["events"][0]
        quiet = connection.poll("quiet")["timestamp"]
        connection.publish("loud", "unread")
        connection.close()
        time.sleep(3.5)  # expired, and told to the store within a second or so; nothing shows when
        server.kill()

        server = self.start("--event-ttl", "600")
        connection = wire.Connection(server)
        self.addCleanup(connection.close)
        answer = connection.poll("loud", **cursor(loud))
        self.assertNotIn("events", answer)
        self.assertIs(answer.get("gap"), True, "an event that nobody had read went in silence")
        answer = connection.poll("quiet", since_time=quiet)
        self.assertIn("timeout", answer)
        self.assertNotIn("gap", answer, "a false alarm in a quiet category")


if __name__ == "__main__":
    daemon.main()
