"""kill -9 under load, again and again on one store: no acknowledged event is missing afterwards,
none is there twice, none out of order, and none that a subscriber has seen is taken back.

  kill_loop.py --daemon PATH [--kind STORE] [--rounds N] [--torn-tails N] [--seed N]
               [KillLoop.test_nothing_is_lost_with_sync_always]

--torn-tails goes on until that many torn tails were cut at a start, at most 100 times --rounds; only
a journal tells of them.
"""
import argparse
import http.client
import os
import random
import re
import shutil
import threading
import time

import daemon

PUBLISHERS = 6
CATEGORIES = 2
BYTES_A_STORE = 200 << 20
# Least and most bytes of an event; long ones are what is torn most often.
SIZES = [(1, 200), (1, 20000), (1, 400000)]
LONG = (600000, 900000)
FLAGS = ("--event-buffer", "10000000", "--max-events", "10000000", "--max-events-bytes", "4GiB",
         "--max-answer-bytes", "16MiB")
# What the journal logs when it cuts a batch that was written in part.
TORN_TAIL = re.compile(r"ends in a batch that was not committed")


class Publisher(threading.Thread):
    """Publishes numbered events until the server is gone; notes which were acknowledged."""

    def __init__(self, server, number, first, sizes, seed):
        super().__init__()
        self.server, self.number, self.next, self.bytes = server, number, first, 0
        self.sizes, self.random = sizes, random.Random(seed)
        self.acknowledged, self.error = [], None

    def run(self):
        connection = self.server.connection()
        least, most = self.sizes
        try:
            while True:
                pad = "x" * int(least * (most / least) ** self.random.random())
                n, self.next, self.bytes = self.next, self.next + 1, self.bytes + len(pad)
                status, body = self.server.request(
                    "POST", "/publish", connection=connection,
                    body=f'{{"category":"c{self.number % CATEGORIES}","data":'
                         f'{{"publisher":{self.number},"n":{n},"pad":"{pad}"}}}}')
                if status != 200:
                    self.error = f"publish: {status} {body!r}"
                    return
                self.acknowledged.append((self.number, n))
        except (OSError, http.client.HTTPException):
            pass  # it was killed
        finally:
            connection.close()


class Subscriber(threading.Thread):
    """Follows one category by the documented loop until the server is gone; notes what it saw."""

    def __init__(self, server, category, cursor):
        super().__init__()
        self.server, self.category, self.cursor = server, category, cursor
        self.seen, self.gap = [], False

    def run(self):
        connection = self.server.connection()
        try:
            while True:
                answer = self.server.poll(self.category, timeout=5, connection=connection,
                                          **self.cursor)
                self.gap = self.gap or "gap" in answer
                self.seen += [event["id"] for event in answer.get("events", [])]
                if "events" in answer:
                    last = answer["events"][-1]
                    self.cursor = {"since_time": last["timestamp"], "last_id": last["id"]}
        except (OSError, http.client.HTTPException, daemon.Failed):
            pass
        finally:
            connection.close()


class KillLoop(daemon.TestCase):
    def setUp(self):
        super().setUp()
        seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
        print(f"--seed {seed}")
        self.random = random.Random(seed)
        self.acknowledged = []
        self.before = {f"c{c}": [] for c in range(CATEGORIES)}  # ids of what was there last time
        self.next, self.bytes = [0] * PUBLISHERS, 0
        self.torn = 0

    def check(self, server, mark):
        """Everything that must be there after a restart is, once and in order."""
        there = []
        for category, before in self.before.items():
            self.assertEqual(server.publish(category, mark)[0], 200)
            events = server.history(category, mark)
            ids = [event["id"] for event in events]
            self.assertEqual(ids, sorted(set(ids)), "out of order, or twice")
            self.assertEqual(ids[:len(before)], before, "what was there has changed")
            numbers = [(event["data"]["publisher"], event["data"]["n"]) for event in events
                       if "publisher" in event["data"]]
            for publisher in range(PUBLISHERS):
                mine = [n for p, n in numbers if p == publisher]
                self.assertEqual(mine, sorted(set(mine)), "a publisher's, out of order or twice")
            self.before[category] = ids
            there += numbers
        missing = set(self.acknowledged) - set(there)
        self.assertEqual(missing, set(), f"{len(missing)} acknowledged events are missing")

    def round(self, server, sizes):
        """One load and one kill."""
        publishers = [Publisher(server, i, self.next[i], sizes, self.random.random())
                      for i in range(PUBLISHERS)]
        subscribers = [Subscriber(server, category, {"since_time": int(time.time() * 1000) - 1000})
                       for category in self.before]
        for thread in publishers + subscribers:
            thread.start()
        # A moment at random is the point of it; nothing is waited for.
        time.sleep(self.random.uniform(0.02, 0.4))
        self.assertIsNone(server.process.poll(), "it ended by itself:\n" + server.log())
        server.kill()
        for thread in publishers + subscribers:
            thread.join(daemon.DEADLINE_S)
            self.assertFalse(thread.is_alive())
        for i, publisher in enumerate(publishers):
            self.assertIsNone(publisher.error)
            self.acknowledged += publisher.acknowledged
            self.next[i] = publisher.next
            self.bytes += publisher.bytes
        return subscribers

    def restart(self, store, mark, subscribers):
        """A server on what the last one left, checked."""
        server = self.start(*FLAGS, store=store)
        self.torn += len(TORN_TAIL.findall(server.log()))
        self.check(server, {"mark": mark})
        for subscriber in subscribers:
            lost = set(subscriber.seen) - set(self.before[subscriber.category])
            self.assertEqual(lost, set(), "seen by a subscriber, and then taken back")
        return server

    def run_rounds(self, sync):
        done, server = 0, None
        limit = arguments.rounds * (100 if arguments.torn_tails else 1)
        while done < arguments.rounds or (self.torn < arguments.torn_tails and done < limit):
            if server is None:
                # Every now and then a new store, or reading it all each time takes ever longer.
                parent = os.path.join(self.directory, f"store-{done}")
                store, self.bytes = daemon.store_at(os.path.join(parent, "store"), sync), 0
                self.acknowledged, self.before = [], {category: [] for category in self.before}
                server = self.restart(store, "new", [])
            sizes = self.random.choice(SIZES + [LONG] * (12 if arguments.torn_tails else 1))
            subscribers = self.round(server, sizes)
            server = self.restart(store, done, subscribers)
            done += 1
            if done % 20 == 0 or self.bytes > BYTES_A_STORE:
                server.kill()
                shutil.rmtree(parent)
                server = None
        print(f"{daemon.kind}, sync={sync}: {done} rounds, {sum(self.next)} publishes, {self.torn} torn tails")
        self.assertGreaterEqual(self.torn, arguments.torn_tails)

    def test_nothing_is_lost_with_sync_always(self):
        self.run_rounds("always")

    def test_nothing_is_lost_with_sync_interval(self):
        self.run_rounds("interval:1s")

    def test_nothing_is_lost_with_sync_never(self):
        self.run_rounds("never")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--torn-tails", type=int, default=0)
    parser.add_argument("--seed", type=int, default=None)
    daemon.main(parser)
