"""Strangers at the door: malformed requests, bad escapes, NULs, sizes past every bound, slow,
half-closed and vanishing clients, over raw sockets. Each gets a clear error or a closed connection,
the server stays up, and no descriptor is left behind."""
import json
import os
import random
import re
import socket
import struct
import threading
import time

import daemon

POLL = b"GET /events?timeout=1&category=c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

BIG_POLL = b"GET /events?timeout=1&since_time=1&category=big HTTP/1.1\r\nHost: x\r\n\r\n"
LONG_POLL = b"GET /events?timeout=100&category=quiet HTTP/1.1\r\nHost: x\r\n\r\n"


def post(body, headers=b""):
    return (b"POST /publish HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers +
            b"Content-Length: %d\r\n\r\n" % len(body) + body)


class BadInput(daemon.TestCase):
    def setUp(self):
        super().setUp()
        self.server = self.start("--request-timeout", "2", "--answer-timeout", "2",
                                 "--max-event-bytes", "64KiB")
        # The first poll and the first publish open what is there once and for all.
        self.raw(LONG_POLL, half_close=True)
        self.assertEqual(self.server.publish("first", 1)[0], 200)
        self.descriptors = self.open_descriptors()

    def open_descriptors(self):
        return len(os.listdir(f"/proc/{self.server.pid}/fd"))

    def assert_unharmed(self):
        """It serves as before, and everything that the test opened is closed again."""
        self.assert_healthy(self.server)
        self.wait_for(lambda: self.open_descriptors() <= self.descriptors)

    def raw(self, *parts, half_close=False):
        """Sends, and reads until the server closes: all that it said."""
        with self.server.connect() as sock:
            said = b""
            try:
                for part in parts:
                    sock.sendall(part)
                if half_close:
                    sock.shutdown(socket.SHUT_WR)
            except ConnectionError:
                pass  # it did not want the rest, and may have said why
            try:
                while some := sock.recv(65536):
                    said += some
            except ConnectionError:
                pass
            return said

    def status(self, *parts, **options):
        """The status of its answer; 0 when it closed without one."""
        match = re.match(rb"HTTP/1\.1 (\d+) ", self.raw(*parts, **options))
        return int(match[1]) if match else 0

    def test_what_is_no_http_is_answered_4xx_or_closed(self):
        for request in [
                b"\r\n\r\n", b"GET\r\n\r\n", b"GET /events\r\n\r\n", b"\0" * 64, b"\xff" * 5000,
                b"GET / HTTP/9.9\r\n\r\n", b"G\0ET / HTTP/1.1\r\nHost: x\r\n\r\n",
                b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(range(256)),
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
                b"GET /health HTTP/1.1\r\nno colon here\r\n\r\n",
                b"GET /health HTTP/1.1\r\nHost: x\r\nA: \0b\r\nConnection: close\r\n\r\n",
                b"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nhello",
                b"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999999999999\r\n\r\n",
                b"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: five\r\n\r\nhello",
                b"POST /publish HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                b"POST /publish HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"ffffffffffffffffff\r\nx\r\n",
        ]:
            with self.subTest(request[:40]):
                status = self.status(request)
                self.assertTrue(status == 0 or 400 <= status < 500 or status == 200, status)
                self.assert_healthy(self.server)
        self.assert_unharmed()

    def test_http2_is_not_spoken(self):
        said = self.raw(b"GET /health HTTP/1.1\r\nHost: x\r\n"
                        b"Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                        b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n")
        self.assertNotIn(b"101", said[:20])
        self.assert_unharmed()

    def test_headers_past_their_bound_are_431_or_closed(self):
        for request in [b"GET /events?category=" + b"c" * 300000 + b" HTTP/1.1\r\n\r\n",
                        b"GET /health HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 80000 + b"\r\n\r\n",
                        b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20000 + b"\r\n"]:
            self.assertIn(self.status(request), (0, 400, 431))
        said = self.raw(b"GET /health HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 80000 + b"\r\n\r\n")
        self.assertTrue(said.startswith(b"HTTP/1.1 431 "), said[:80])
        self.assert_unharmed()

    def test_wrong_queries_get_the_error_that_the_wire_names(self):
        category = "Invalid subscription category, must be 1-1024 characters long."
        timeout = "Invalid or missing 'timeout' arg.  Must be 1-110."
        for query, error in [
                ("", timeout), ("category=c", timeout), ("timeout=%31%", timeout),
                ("timeout=1.5&category=c", timeout), ("timeout=1%00&category=c", timeout),
                ("timeout=99999999999999999999&category=c", timeout),
                ("timeout=1", category), ("timeout=1&category=", category),
                ("timeout=1&category=%zz", category), ("timeout=1&category=%", category),
                ("timeout=1&category=" + "c" * 1025, category),
                ("timeout=1&category=" + "%41" * 1025, category),
                ("timeout=1&category=c&since_time=soon", "Invalid 'since_time' arg."),
                ("timeout=1&category=c&since_time=1&last_id=x",
                 "Param 'last_id' was not a valid UUID."),
        ]:
            with self.subTest(query[:40]):
                status, body = self.server.request("GET", "/events?" + query)
                self.assertEqual((status, json.loads(body)), (200, {"error": error}))
        self.assert_unharmed()

    def test_a_nul_and_any_byte_may_be_part_of_a_category(self):
        body = b'{"category":"a\\u0000b","data":1}'
        self.assertEqual(self.status(post(body)), 200)
        status, body = self.server.request("GET", "/events?timeout=1&since_time=1&category=a%00b")
        self.assertEqual(json.loads(body)["events"][0]["category"], "a\0b")
        self.assertIn("timeout", self.server.poll("a", since_time=int(time.time() * 1000)))
        self.assert_unharmed()

    def test_wrong_bodies_are_400(self):
        for body in [b"", b"null", b"[]", b"{", b"nonsense", b"\0", b'{"category":1,"data":1}',
                     b'{"category":"c"}', b'{"category":"c","data":null}',
                     b'{"category":"","data":1}',
                     b'{"category":"' + b"c" * 1025 + b'","data":1}',
                     b'{"category":"c","data":"\xff"}', b'{"category":"\xc3\x28","data":1}',
                     b'{"category":"c","data":"a\0b"}', b'{"category":"c","data":01}',
                     b'{"category":"c","data":' + b"[" * 30000 + b"]" * 30000 + b"}"]:
            with self.subTest(body[:40]):
                said = self.raw(post(body))
                self.assertTrue(said.startswith(b"HTTP/1.1 400 "), said[:80])
                self.assertIn("error", json.loads(said.split(b"\r\n\r\n", 1)[1]))
        self.assert_unharmed()

    def test_oversized_bodies_are_413(self):
        big = b'{"category":"c","data":"' + b"x" * 65536 + b'"}'
        self.assertEqual(self.status(post(big)), 413)
        self.assertEqual(self.status(post(b"x" * 1000000)), 413)
        head = b"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000000\r\n\r\n"
        self.assertEqual(self.status(head, b"x" * 1000), 413)
        chunked = b"POST /publish HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assertIn(self.status(chunked, (b"4000\r\n" + b"x" * 0x4000 + b"\r\n") * 20), (0, 413))
        self.assertIn("timeout", self.server.poll("c", since_time=int(time.time() * 1000)))
        self.assert_unharmed()

    def test_slow_headers_and_slow_bodies_are_cut_off(self):
        for part in (b"", b"G", POLL[:-2], post(b"x" * 100)[:-50]):
            with self.subTest(part[:20]), self.server.connect() as sock:
                sock.sendall(part)
                said = b""
                while some := sock.recv(65536):
                    said += some
                self.assertIn(said[9:12], (b"", b"400", b"408"))
        self.assert_unharmed()

    def test_a_byte_now_and_then_does_not_hold_a_connection_for_ever(self):
        with self.server.connect() as sock:
            start = time.monotonic()
            sock.setblocking(False)
            request = iter(b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 10000)
            try:
                while True:
                    self.assertLess(time.monotonic(), start + daemon.DEADLINE_S)
                    sock.send(bytes([next(request)]))
                    time.sleep(0.1)
                    try:
                        if sock.recv(1) == b"":
                            break
                    except BlockingIOError:
                        pass
            except (BrokenPipeError, ConnectionResetError):
                pass
        self.assert_unharmed()

    def test_a_slow_reader_is_cut_off_and_costs_nobody_else(self):
        for n in range(200):
            self.assertEqual(self.server.publish("big", "x" * 60000)[0], 200)
        with self.server.connect() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            # Several answers of 4 MiB each: more than any socket buffer takes.
            sock.sendall(BIG_POLL * 8)
            end = time.monotonic() + daemon.DEADLINE_S
            while self.open_descriptors() > self.descriptors:
                self.assertEqual(self.server.publish("other", 1)[0], 200)
                self.assertLess(time.monotonic(), end, "a reader that stalls is held for ever")
        self.assert_unharmed()

    def test_half_closed_sockets_end(self):
        said = self.raw(post(b'{"category":"half","data":1}'), half_close=True)
        self.assertIn(said[9:12], (b"", b"200"))
        # Whoever has closed its side is gone for a poll that waits.
        self.raw(LONG_POLL, half_close=True)
        self.raw(LONG_POLL + POLL, half_close=True)
        self.assert_unharmed()

    def test_clients_that_vanish_leave_nothing_behind(self):
        for n in range(300):
            sock = self.server.connect()
            sock.sendall([b"GET /ev", POLL.replace(b"timeout=1&", b"timeout=100&"),
                          post(b'{"category":"c","data":1}'), post(b"x" * 5000)[:-100]][n % 4])
            if n % 3:  # a reset, where not a plain close
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        self.assert_unharmed()

    def test_head_and_options_are_answered_and_never_parked(self):
        for method in (b"HEAD", b"OPTIONS"):
            for path in (b"/events?timeout=100&category=quiet", b"/publish", b"/health"):
                with self.subTest(method + b" " + path):
                    request = method + b" " + path + b" HTTP/1.1\r\nHost: x\r\n"
                    self.assertNotEqual(self.status(request + b"Connection: close\r\n\r\n"), 0)
        self.assert_unharmed()

    def test_pipelined_publishes_are_all_answered_in_order(self):
        one = (b"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 31\r\n\r\n"
               b'{"category":"pipe","data":%4d}')
        said = self.raw(b"".join(one % n for n in range(50)) + POLL)
        self.assertEqual(said.count(b'{"success": true}'), 50)
        self.assertEqual(self.server.kept("pipe", "mark"), list(range(50)))
        self.assert_unharmed()

    def test_mutated_requests_do_no_harm(self):
        seed = random.randrange(1 << 32)
        dice = random.Random(seed)
        print(f"seed {seed}")
        originals = [POLL, post(b'{"category":"c","data":{"a":[1,2,"\\u00e9"]}}'),
                     b"POST /publish HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                     b'1c\r\n{"category":"c","data":true}\r\n0\r\n\r\n']

        def some():
            local = random.Random(dice.random())
            for _ in range(60):
                request = bytearray(local.choice(originals))
                for _ in range(local.randrange(1, 6)):
                    at = local.randrange(len(request))
                    request[at:at + local.randrange(3)] = local.randbytes(local.randrange(3))
                self.raw(bytes(request), half_close=True)

        threads = [threading.Thread(target=some) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
            self.assertFalse(thread.is_alive())
        self.assert_unharmed()


class Bounds(daemon.TestCase):
    def test_connections_past_their_bound_are_503_or_closed_and_come_back(self):
        server = self.start("--max-connections", "20")
        crowd = [server.connect() for _ in range(20)]
        with server.connect() as sock:
            said = b""
            try:
                sock.sendall(POLL)
                said = sock.recv(4096)
            except ConnectionError:
                pass
            self.assertIn(said[9:12], (b"", b"503"))
        for one in crowd:
            one.close()
        self.wait_for(server.is_healthy)

    def test_waiters_past_their_bound_are_503(self):
        server = self.start("--max-waiters", "5")
        waiting = [server.connect() for _ in range(5)]
        for sock in waiting:
            sock.sendall(b"GET /events?timeout=100&category=q HTTP/1.1\r\nHost: x\r\n\r\n")
        # They need not be read in the order in which they came.
        self.wait_for(lambda: b"\nlongpoll_waiters 5\n" in server.request("GET", "/metrics")[1])
        status, body = server.request("GET", "/events?timeout=1&category=q")
        self.assertEqual(status, 503)
        self.assertIn("error", json.loads(body))
        for sock in waiting:
            sock.close()


if __name__ == "__main__":
    daemon.main()
