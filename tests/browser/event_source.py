"""A browser's own EventSource across kills of the server, while publishing goes on: every event whose
publish was answered with success arrives, none arrives twice, and all of them in order."""
import http.client
import json
import threading
import time
import unittest

import browser
import daemon

RESTARTS = 3
BROWSER_S = 60  # a cold start on a busy machine


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

    def test_nothing_is_missed_and_nothing_comes_twice_across_kills(self):
        page = browser.Browser()
        self.addCleanup(page.close)
        flags = ["--cors-origin", page.origin, "--event-buffer", "100000"]
        server = self.start(*flags)
        listen = f"127.0.0.1:{server.port}"
        page.read(f"http://{listen}/events?timeout=100&category=c")
        self.assertTrue(page.wait_for(lambda: page.entries("open"), BROWSER_S), page.reports)
        publisher = Publisher(server.port)
        publisher.start()
        self.addCleanup(publisher.ends.set)
        for _ in range(RESTARTS):
            seen = len(page.numbers())
            self.assertTrue(page.wait_for(lambda: len(page.numbers()) > seen + 100, BROWSER_S),
                            page.reports[-5:])
            server.kill()
            time.sleep(0.3)  # so that connections are refused for a while
            server = self.start(*flags, listen=listen)
        seen = len(page.numbers())
        page.wait_for(lambda: len(page.numbers()) > seen + 100, BROWSER_S)
        publisher.ends.set()
        publisher.join()
        self.assertTrue(page.wait_for(lambda: publisher.kept[-1] in page.numbers(), BROWSER_S))

        numbers = page.numbers()
        print(f"{publisher.next} published, {len(publisher.kept)} kept, {len(numbers)} received, "
              f"{len(page.entries('open'))} streams, {len(page.entries('gap'))} gaps", flush=True)
        self.assertEqual(numbers, sorted(set(numbers)), "twice, or out of order")
        self.assertEqual(set(publisher.kept) - set(numbers), set(), "missed")
        self.assertEqual(page.entries("gap"), [])
        self.assertTrue(all(entry["agrees"] for entry in page.entries("data")))
        self.assertGreater(len(page.entries("open")), RESTARTS)


if __name__ == "__main__":
    daemon.main()
