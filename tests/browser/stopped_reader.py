"""By hand: readers of streams that stop for a while, a whole browser and bare sockets, while large
events are published. The memory of the server stays within its bound; the browser goes on when it
wakes, is told a gap for what the ring lost meanwhile, and gets everything since in order.

    PYTHONPATH=tests/crash python3 tests/browser/stopped_reader.py --daemon PATH [--seconds 60]
"""
import argparse
import http.client
import json
import re
import time

import browser
import daemon

RING = 250
EVENT_BYTES = 50_000
BARE_READERS = 100
SLACK_MIB = 24  # beside the ring: requests, buffers, what malloc keeps


def resident_mib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) / 1024


def metric(server, name):
    text = server.request("GET", "/metrics")[1].decode()
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


class StoppedReader(daemon.TestCase):
    def setUp(self):
        super().setUp()
        if browser.find() is None:
            self.skipTest("no chromium is installed")

    def publish_for(self, seconds):
        """At about 100 a second; what the server's memory was at most."""
        most, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            body = json.dumps({"category": "c", "data": {"n": self.next, "x": "x" * EVENT_BYTES}})
            self.connection.request("POST", "/publish", body)
            self.assertEqual(self.connection.getresponse().read(), b'{"success": true}')
            self.next += 1
            if self.next % 20 == 0:
                most = max(most, resident_mib(self.server.pid))
            time.sleep(0.01)
        return most

    def test_memory_stays_within_its_bound(self):
        page = browser.Browser()
        self.addCleanup(page.close)
        self.server = self.start("--cors-origin", page.origin, "--event-buffer", str(RING),
                                 store="memory")
        self.connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
        self.addCleanup(self.connection.close)
        self.next = 0
        path = "/events?timeout=110&category=c"
        page.read(f"http://127.0.0.1:{self.server.port}{path}")
        self.assertTrue(page.wait_for(lambda: page.entries("open"), 60))
        full = self.publish_for(6)
        self.assertTrue(page.wait_for(lambda: self.next - 1 in page.numbers(), 30))

        page.stop()
        bare = [self.server.connect() for _ in range(BARE_READERS)]
        for reader in bare:
            reader.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"
                           .encode())
        stopped_at = self.next
        most = self.publish_for(arguments.seconds)
        streams = metric(self.server, "longpoll_http_streams")
        page.go_on()
        woken_at = self.next
        self.publish_for(8)
        self.assertTrue(page.wait_for(lambda: self.next - 1 in page.numbers(), 60),
                        page.numbers()[-3:])
        after = resident_mib(self.server.pid)
        for reader in bare:
            reader.close()

        numbers = page.numbers()
        missing = sorted(set(range(self.next)) - set(numbers))
        print(f"ring full {full:.1f} MiB, at most {most:.1f} MiB while {BARE_READERS} bare readers "
              f"and the browser were stopped for {arguments.seconds} s, {after:.1f} MiB after; "
              f"{woken_at - stopped_at} events of {EVENT_BYTES} bytes meanwhile, {streams:.0f} "
              f"streams left, {len(page.entries('gap'))} gaps, {len(missing)} events lost to the ring",
              flush=True)
        self.assertEqual(numbers, sorted(set(numbers)), "twice, or out of order")
        self.assertEqual(bool(missing), bool(page.entries("gap")), "a gap is told iff there is one")
        self.assertLess(most, full + SLACK_MIB)
        expected, told = 0, False
        for entry in page.reports:
            told = told or "gap" in entry
            if "data" in entry:
                number = entry["data"]["n"]
                self.assertTrue(number == expected or told, f"{expected} to {number} in silence")
                expected, told = number + 1, False


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    arguments = parser.parse_args([])
    daemon.main(parser)
