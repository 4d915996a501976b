"""Publishers repeat each publish with its Idempotency-Key, at random, before and after its answer,
on connections that are cut at any byte, while the server is killed with -9, stopped and started again:
in the end every key was published once. Nothing that was acknowledged is missing, nothing is there twice,
several events of one publish follow each other, and every repeat was answered like the first.

  publish_once.py --daemon PATH [--kind STORE] [--publishes N] [--stops N] [--seed N]
                  [PublishOnce.test_with_sync_always]

--stops is how often the server goes down in the meantime.
"""
import argparse
import json
import random
import signal
import socket
import struct
import threading
import time

import daemon

PUBLISHERS = 8
CATEGORIES = 3
FLAGS = ("--event-buffer", "10000000", "--max-events", "10000000", "--max-events-bytes", "4GiB",
         "--max-answer-bytes", "16MiB", "--max-idempotency-keys", "1000000")
SUCCESS = b'{"success": true}'
PAUSE_S = 0.02  # before the next attempt, where the server is down or refuses


class Cut(Exception):
    """The connection ended before the answer did."""


class Server:
    """The daemon as the publishers see it: it goes down and comes back on another port."""

    def __init__(self, start):
        self.start, self.running = start, start()
        self.stops = {"kill": 0, "stop": 0}

    def port(self):
        return self.running.port

    def go_down(self, how):
        """By SIGKILL ("kill"), or SIGTERM and an end in peace ("stop"); and back."""
        old = self.running
        if how == "kill":
            old.kill()
        else:
            old.signal(signal.SIGTERM)
            if old.wait() != 0:
                raise daemon.Failed(f"SIGTERM: exit status {old.process.returncode}: {old.log()}")
        self.stops[how] += 1
        self.running = self.start()


class Connection:
    """One connection, which can be cut in the middle of anything."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), daemon.DEADLINE_S)
        self.left = b""

    def send(self, some):
        self.socket.sendall(some)

    def receive(self):
        some = self.socket.recv(65536)
        if not some:
            raise Cut()
        self.left += some

    def answer(self):
        """(status, headers, body) of the next answer."""
        while b"\r\n\r\n" not in self.left:
            self.receive()
        head, self.left = self.left.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip()
                   for name, value in (line.split(":", 1) for line in lines[1:])}
        length = int(headers["content-length"])
        while len(self.left) < length:
            self.receive()
        body, self.left = self.left[:length], self.left[length:]
        return int(lines[0].split()[1]), headers, body

    def cut(self, resets):
        """Ends it, with a FIN or a RST."""
        if resets:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Publish:
    """What one key stands for: one event or several."""

    def __init__(self, number, rng):
        self.key = f"{rng.randrange(1 << 64):x}-{number}"
        self.items = [{"category": f"c{rng.randrange(CATEGORIES)}",
                       "data": {"publish": number, "item": i, "pad": "x" * rng.randrange(300)}}
                      for i in range(1 if rng.random() < 0.7 else rng.randrange(1, 9))]
        body = self.items if len(self.items) > 1 or rng.random() < 0.3 else self.items[0]
        self.is_array = isinstance(body, list)
        self.body = json.dumps(body).encode()
        self.events = None  # as they were told to its publisher

    def request(self, represents=True, body=None):
        body = self.body if body is None else body
        prefer = "Prefer: return=representation\r\n" if represents else ""
        return (f"POST /publish HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n{prefer}"
                f"Idempotency-Key: {self.key}\r\n\r\n").encode() + body


class Publisher(threading.Thread):
    """Publishes one after the other, each until it is acknowledged, and some of them again."""

    def __init__(self, server, publishes, seed, count):
        super().__init__(daemon=True)
        self.server, self.publishes, self.random = server, publishes, random.Random(seed)
        self.connection, self.error, self.done = None, None, []
        self.counts = count  # shared; a count that is off by one harms nobody

    def run(self):
        try:
            for publish in self.publishes:
                while publish.events is None:
                    self.attempt(publish)
                self.done.append(publish)
                for _ in range(self.random.choice([0, 0, 1, 2])):
                    self.attempt(self.random.choice(self.done[-20:]))
                if self.random.random() < 0.05:
                    self.misuse(publish)
        except Exception as error:  # told by the test
            self.error = error
        finally:
            self.drop(False)

    # ---- one attempt

    def attempt(self, publish):
        how = self.random.choice([self.plain, self.plain, self.plain, self.cut_request,
                                  self.cut_answer, self.cut_at_once, self.twice])
        self.counts[how.__name__] = self.counts.get(how.__name__, 0) + 1
        try:
            if self.connection is None:
                self.connection = Connection(self.server.port())
            how(publish)
        except (OSError, Cut):
            self.drop(False)
            time.sleep(PAUSE_S * self.random.random())

    def drop(self, resets):
        if self.connection is not None:
            self.connection.cut(resets)
        self.connection = None

    def plain(self, publish):
        represents = publish.events is None or self.random.random() < 0.7
        self.connection.send(publish.request(represents))
        self.take(publish, self.connection.answer(), represents)

    def cut_request(self, publish):
        request = publish.request()
        self.connection.send(request[:self.random.randrange(len(request))])
        self.drop(self.random.random() < 0.5)

    def cut_at_once(self, publish):
        """The server may have it, may have it later, or may never."""
        self.connection.send(publish.request())
        if self.random.random() < 0.5:
            time.sleep(0.002 * self.random.random())
        self.drop(self.random.random() < 0.5)

    def cut_answer(self, publish):
        self.connection.send(publish.request())
        self.connection.socket.recv(self.random.randrange(1, 60))
        self.drop(self.random.random() < 0.5)

    def twice(self, publish):
        """On two connections at the same time: the second joins the first."""
        other = Connection(self.server.port())
        try:
            request = publish.request()
            for connection in (self.connection, other):
                connection.send(request)
            if self.random.random() < 0.3:
                self.drop(True)
            else:
                self.take(publish, self.connection.answer(), True)
            self.take(publish, other.answer(), True)
        finally:
            other.cut(False)

    def misuse(self, publish):
        """The same key with another body is refused, and publishes nothing."""
        try:
            connection = Connection(self.server.port())
        except OSError:
            return
        try:
            connection.send(publish.request(body=b'{"category":"c0","data":"another"}'))
            status, _, body = connection.answer()
        except (OSError, Cut):
            return
        finally:
            connection.cut(False)
        if status not in (422, 503):
            raise AssertionError(f"another body under the key of {publish.items}: {status} {body}")

    # ---- answers

    def take(self, publish, answer, represents):
        status, headers, body = answer
        if headers.get("connection", "").lower() == "close":
            self.drop(False)
        if status == 503:  # never remembered
            time.sleep(PAUSE_S * self.random.random())
            return
        if status != 200:
            raise AssertionError(f"publish: {status} {body!r}")
        if not represents:
            if body != SUCCESS:
                raise AssertionError(f"expected {SUCCESS}: {body!r}")
            return
        if headers.get("preference-applied") != "return=representation":
            raise AssertionError(f"no representation, and the events are there: {body!r}")
        told = json.loads(body)
        events = told["events"] if publish.is_array else [told]
        if [{"category": e["category"], "data": e["data"]} for e in events] != publish.items:
            raise AssertionError(f"other events: {body!r}, published were {publish.items}")
        if publish.events is not None and publish.events != events:
            raise AssertionError(f"a repeat was answered with {events}, first {publish.events}")
        publish.events = events


def place_of(event):
    """The 63 ordering bits of an id: events of one publish follow each other."""
    bits = int(event["id"].replace("-", ""), 16)
    return (bits >> 80) << 15 | (bits >> 64 & 0xfff) << 3 | (bits >> 59 & 7)


class PublishOnce(daemon.TestCase):
    def setUp(self):
        super().setUp()
        seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
        print(f"--seed {seed}")
        self.random = random.Random(seed)

    def publish_all(self, server, publishes):
        counts = {}
        publishers = [Publisher(server, publishes[i::PUBLISHERS], self.random.random(), counts)
                      for i in range(PUBLISHERS)]
        for publisher in publishers:
            publisher.start()
        # The server goes down each time that another part of all is done.
        done, part = 0, max(1, len(publishes) // (arguments.stops + 1))
        next_stop = part
        while any(publisher.is_alive() for publisher in publishers):
            done = sum(len(publisher.done) for publisher in publishers)
            if done >= next_stop and sum(server.stops.values()) < arguments.stops:
                next_stop += part
                server.go_down("stop" if self.random.random() < 0.2 else "kill")
            time.sleep(0.002)
            if any(publisher.error for publisher in publishers):
                break
        for publisher in publishers:
            if publisher.error:
                raise publisher.error
            publisher.join()
        return counts

    def check(self, server, publishes):
        """Every key was published once, as its publisher was told."""
        there = {}
        for c in range(CATEGORIES):
            mark = f"end {time.monotonic_ns()}"
            self.assertEqual(server.running.publish(f"c{c}", mark)[0], 200)
            for event in server.running.history(f"c{c}", mark):
                if isinstance(event["data"], dict):
                    place = event["data"]["publish"], event["data"]["item"]
                    self.assertNotIn(place, there, "published twice")
                    there[place] = event
                else:
                    self.assertTrue(event["data"].startswith("end "), event)
        for number, publish in enumerate(publishes):
            events = [there.pop((number, i), None) for i in range(len(publish.items))]
            self.assertEqual(events, publish.events, "missing, or not as its publisher was told")
            first = place_of(events[0])
            self.assertEqual([place_of(event) for event in events],
                             list(range(first, first + len(events))))
        self.assertEqual(there, {}, "published, and nobody was told")

    def publish_once(self, sync):
        store = daemon.store_at(self.store_path, sync)
        server = Server(lambda: self.start(*FLAGS, store=store))
        publishes = [Publish(n, self.random) for n in range(arguments.publishes)]
        began = time.monotonic()
        counts = self.publish_all(server, publishes)
        took = time.monotonic() - began
        self.check(server, publishes)

        # Once more, all of them, after one more kill: nothing new comes of it.
        server.go_down("kill")
        again = Publisher(server, [], 0, counts)
        again.connection = Connection(server.port())
        for publish in publishes:
            again.plain(publish)
        again.drop(False)
        self.check(server, publishes)
        print(f"| {daemon.kind} {sync} | {len(publishes)} keys | "
              f"{sum(len(p.items) for p in publishes)} events | {sum(counts.values())} attempts | "
              f"{sum(n for how, n in counts.items() if how.startswith('cut'))} cut | "
              f"{server.stops['kill']} kills, {server.stops['stop']} stops | {took:.1f} s |")

    def test_with_sync_always(self):
        self.publish_once("always")

    def test_with_sync_interval(self):
        self.publish_once("interval:1s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--publishes", type=int, default=400)
    parser.add_argument("--stops", type=int, default=4)
    parser.add_argument("--seed", type=int, default=None)
    daemon.main(parser)
