"""A browser's own EventSource, left to itself, across kills of the server, while publishing goes
on. It comes back while the server still replays its journal, is told so in a stream that ends at
once, and comes again: every event whose publish was answered with success arrives, none arrives
twice, and all of them in order.

  event_source.py --daemon PATH [--stall LIBRARY] [--history N] [--restarts N]

With --stall (built from tests/crash/stall.c) each replay waits until the browser has met it. By
hand, --history 10000000 makes one that takes seconds by itself.
"""
import argparse
import http.client
import json
import os
import re
import threading
import time

import browser
import daemon

BROWSER_S = 60  # a cold start on a busy machine
FLAGS = ("--event-buffer", "10000000", "--max-events", "20000000", "--max-events-bytes", "8GiB",
         "--max-body-bytes", "16MiB")

class Publisher(threading.Thread):
    """Publishes numbers, each once: one that was not answered is left behind."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port = port
        self.next = 0
        self.kept = []
        self.ends = threading.Event()

    def run(self):
        connection = None
        while not self.ends.wait(0.004):
            number, self.next = self.next, self.next + 1
            body = json.dumps({"category": "c", "data": {"n": number}})
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port,
                                                                      timeout=5)
                connection.request("POST", "/publish", body)
                response = connection.getresponse()
                response.read()
                if response.status == 200:
                    self.kept.append(number)
            except (OSError, http.client.HTTPException):
                connection.close()
                connection = None
        if connection:
            connection.close()


class EventSource(daemon.TestCase):
    def setUp(self):
        super().setUp()
        if browser.find() is None:
            self.skipTest("no chromium is installed")
        self.hold = os.path.join(self.directory, "hold")
        self.env = None
        if arguments.stall:
            self.env = {"LD_PRELOAD": arguments.stall, "STALL_READS": self.hold}
        self.begun = 0  # streams, of the servers so far

    def seed(self, server):
        """What a replay has to read before it comes to the category of the test."""
        connection = server.connection()
        for at in range(0, arguments.history, 1000):
            body = json.dumps([{"category": f"old {n % 50}", "data": n}
                               for n in range(at, at + 1000)])
            status, answer = server.request("POST", "/publish", body, connection=connection)
            self.assertEqual(status, 200, answer)
        connection.close()

    def count_streams(self, server):
        text = server.request("GET", "/metrics")[1].decode()
        self.begun += int(re.search(r"^longpoll_http_streams_begun_total (\d+)", text,
                                    re.MULTILINE)[1])

    def read_some(self, page):
        seen = len(page.numbers())
        self.assertTrue(page.wait_for(lambda: len(page.numbers()) > seen + 100, BROWSER_S),
                        page.reports[-5:])

    def restart(self, server, flags, page):
        """Kills it, and lets the browser come back while the store is being replayed."""
        self.count_streams(server)
        server.kill()
        if arguments.stall:
            with open(self.hold, "w", encoding="utf-8"):
                pass
        opened = len(page.entries("open"))
        began = time.monotonic()
        server = self.start(*flags, listen=f"127.0.0.1:{server.port}", env=self.env, wait=False)
        if arguments.stall:
            # One more: it comes again although the first was refused.
            met = page.wait_for(lambda: len(page.entries("open")) >= opened + 2, BROWSER_S)
            self.assertTrue(met, page.reports[-5:])
            status, body = server.request("GET", "/health")
            self.assertEqual((status, json.loads(body)["status"]), (503, "starting"))
            os.unlink(self.hold)
        server.wait_until_serving()
        print(f"{len(page.entries('open')) - opened} streams refused in a replay of "
              f"{time.monotonic() - began:.1f} s", flush=True)
        return server

    def test_nothing_is_missed_and_nothing_comes_twice_across_kills(self):
        page = browser.Browser()
        self.addCleanup(page.close)
        flags = ["--cors-origin", page.origin, *FLAGS]
        server = self.start(*flags, env=self.env)
        self.seed(server)
        page.read(f"http://127.0.0.1:{server.port}/events?timeout=100&category=c")
        self.assertTrue(page.wait_for(lambda: page.entries("open"), BROWSER_S), page.reports)
        publisher = Publisher(server.port)
        publisher.start()
        self.addCleanup(publisher.ends.set)
        self.read_some(page)
        for _ in range(arguments.restarts):
            server = self.restart(server, flags, page)
            self.read_some(page)
        publisher.ends.set()
        publisher.join()
        self.assertTrue(page.wait_for(lambda: publisher.kept[-1] in page.numbers(), BROWSER_S))

        self.count_streams(server)
        numbers, opened = page.numbers(), len(page.entries("open"))
        print(f"{publisher.next} published, {len(publisher.kept)} kept, {len(numbers)} received, "
              f"{self.begun} streams, {opened - self.begun} more refused while replaying, "
              f"{len(page.entries('gap'))} gaps", flush=True)
        self.assertEqual(numbers, sorted(set(numbers)), "twice, or out of order")
        self.assertEqual(set(publisher.kept) - set(numbers), set(), "missed")
        self.assertEqual(page.entries("gap"), [])
        self.assertTrue(all(entry["agrees"] for entry in page.entries("data")))
        self.assertGreater(self.begun, arguments.restarts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--stall", default=None)
    parser.add_argument("--history", type=int, default=100000)
    parser.add_argument("--restarts", type=int, default=3)
    daemon.main(parser)
