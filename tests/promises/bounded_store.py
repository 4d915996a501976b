"""The directory of a store stays bounded by what is living, many times the rings through: at most
twice the living bytes, two segments, and a small constant (promise 9). It is so under each of the
rules that remove events, all the while that they are published as fast as they are taken, and after
a restart, which finds what is living and nothing else."""
import json
import os
import signal

import daemon
import wire

SEGMENT = 256 << 10
CONSTANT = 64 << 10
RESERVE = 256 << 10
IN_FLIGHT = 256 << 10
TIMES = 60  # what is living plus two segments is written over as many times
PAD = "x" * 10000


def event(category, n):
    return category, {"n": n, "pad": PAD}


EVENT_BYTES = len(json.dumps(event("c0", 10000)))


class Bounded(daemon.TestCase):
    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.directory, "store")
        self.store = f"journal:{self.path}?segment=256KiB"
        self.most = 0

    def size(self):
        """Of the directory. A file may go while it is looked at."""
        total = 0
        for entry in os.scandir(self.path):
            try:
                total += entry.stat().st_size
            except FileNotFoundError:
                pass
        return total

    def watched(self, numbers):
        """Looks how large the directory is in the middle of publishing, too."""
        for n in numbers:
            if n % 5 == 0:
                self.most = max(self.most, self.size())
            yield n

    def assert_always_bounded(self, living):
        """Also while it was filled. An event lives until a later batch tells that it is gone, so up
        to `IN_FLIGHT` bytes more do."""
        bound = 2 * (living * EVENT_BYTES + IN_FLIGHT) + 2 * SEGMENT + RESERVE + CONSTANT
        self.assertGreater(self.most, SEGMENT, "nothing was measured")
        self.assertLessEqual(self.most, bound, f"the most while {living} events were living")

    def assert_bounded(self, living):
        """At the end of compaction, which goes on when nothing is published."""
        bound = 2 * living * EVENT_BYTES + 2 * SEGMENT + CONSTANT
        try:
            self.wait_for(lambda: self.size() <= bound)
        except AssertionError:
            sizes = sorted((e.name, e.stat().st_size) for e in os.scandir(self.path))
            self.fail(f"{self.size()} bytes with {living} living events, more than {bound}: "
                      f"{sizes}")

    def numbers(self, connection, categories):
        """What a poll from the beginning finds in categories that are not empty."""
        there = []
        for category in categories:
            answer = connection.poll(category, since_time=1)
            there += [event["data"]["n"] for event in answer.get("events", [])]
        return sorted(there)

    def fill(self, *flags, living, categories=("c0",)):
        """Publishes until it is written over many times. The server, a connection, the count."""
        server = self.start(*flags)
        connection = wire.Connection(server)
        self.addCleanup(connection.close)
        count = TIMES * (living * EVENT_BYTES + 2 * SEGMENT) // EVENT_BYTES
        connection.publish_all(event(categories[n % len(categories)], n)
                               for n in self.watched(range(count)))
        return server, connection, count

    def again(self, server, *flags):
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0, server.log())
        server = self.start(*flags)
        connection = wire.Connection(server)
        self.addCleanup(connection.close)
        return server, connection

    def last_ones(self, flags, living, categories):
        """The rule leaves the last ones; `living` of them at most."""
        server, connection, count = self.fill(*flags, living=living, categories=categories)
        there = self.numbers(connection, categories)
        self.assertGreaterEqual(len(there), living * 3 // 4)
        self.assertLessEqual(len(there), living)
        self.assertEqual(there, list(range(count - len(there), count)))
        self.assert_always_bounded(living)
        self.assert_bounded(living)
        server, connection = self.again(server, *flags)
        self.assert_bounded(living)
        self.assertEqual(self.numbers(connection, categories), there)

    def test_under_the_ring(self):
        self.last_ones(["--event-buffer", "10"], 10, ["c0"])

    def test_under_the_rings_of_several_categories(self):
        self.last_ones(["--event-buffer", "10"], 40, ["c0", "c1", "c2", "c3"])

    def test_under_the_total_of_events(self):
        self.last_ones(["--max-events", "50"], 50, ["c0", "c1", "c2", "c3", "c4"])

    def test_under_the_total_of_bytes(self):
        # The events and what goes with each
        self.last_ones(["--max-events-bytes", str(50 * (EVENT_BYTES + 200))], 51,
                       ["c0", "c1", "c2", "c3", "c4"])

    def test_under_the_ttl(self):
        flags = ["--event-buffer", "100000", "--event-ttl", "2"]
        server, connection, count = self.fill(*flags, living=0)
        self.assert_bounded(0)
        connection.publish(*event("c0", count))
        self.assertEqual(self.numbers(connection, ["c0"])[-1], count)
        server, connection = self.again(server, *flags)
        self.assert_bounded(1)
        connection.publish(*event("c0", count + 1))
        there = self.numbers(connection, ["c0"])
        self.assertEqual(there[-1], count + 1)
        self.assertGreaterEqual(there[0], count, "what had expired has come back")

    def test_under_delete_after_first(self):
        flags = ["--delete-after-first-retrieval"]
        server = self.start(*flags)
        connection = wire.Connection(server)
        self.addCleanup(connection.close)
        some = 50
        rounds = TIMES * (some * EVENT_BYTES + 2 * SEGMENT) // EVENT_BYTES // some
        for first in range(0, rounds * some, some):
            numbers = list(range(first, first + some))
            connection.publish_all(event("c0", n) for n in numbers)
            self.assertEqual(self.numbers(connection, ["c0"]), numbers)
        unread = list(range(rounds * some, rounds * some + 10))
        connection.publish_all(event("c0", n) for n in unread)
        self.assert_bounded(len(unread))
        server, connection = self.again(server, *flags)
        self.assert_bounded(len(unread))
        self.assertEqual(self.numbers(connection, ["c0"]), unread)


if __name__ == "__main__":
    daemon.main()
