"""Publishes whose bodies never come to their end do not take the memory, nor the server's time
(promises 11 and 12)."""
import re
import resource
import selectors
import socket
import time

import daemon

STALLED = 700
BODY_BYTES = 1 << 20
MEMORY_BYTES = 350 << 20
QUIET_S = 1


class StalledBodies(daemon.TestCase):
    def setUp(self):
        super().setUp()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < STALLED + 100:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, STALLED + 100), hard))

    def assert_bounded(self, server):
        """The most memory that the server has had at a time."""
        with open(f"/proc/{server.pid}/status", encoding="utf-8") as status:
            text = status.read()
        peak, now = (int(re.search(rf"{name}:\s+(\d+) kB", text)[1]) << 10
                     for name in ("VmHWM", "VmRSS"))
        self.assertLess(peak, MEMORY_BYTES, f"bytes at the peak, and {now} now")

    def assert_serves(self, server, n):
        self.assertEqual(server.publish("c", n)[0], 200)
        self.assertEqual(server.poll("c", since_time=1)["events"][-1]["data"], n)
        self.assert_healthy(server)

    def test_700_stalled_bodies_of_1_mb_leave_the_memory_bounded_and_others_served(self):
        server = self.start("--request-timeout", "60", store="memory")
        head = b"POST /publish HTTP/1.1\r\nHost: longpolld\r\nContent-Length: %d\r\n\r\n"
        body = b'{"category":"stalled","data":"'.ljust(BODY_BYTES - 1, b"x")
        request = head % BODY_BYTES + body
        sent = {}
        with selectors.DefaultSelector() as selector:
            for _ in range(STALLED):
                connection = server.connect()
                self.addCleanup(connection.close)
                connection.setblocking(False)
                sent[connection] = 0
                selector.register(connection, selectors.EVENT_WRITE)
            # Each sends what the server takes of all but the last byte of its body: until that is
            # out, the server refuses it, or takes nothing more of any.
            last = time.monotonic()
            while selector.get_map() and time.monotonic() < last + QUIET_S:
                for key, _ in selector.select(QUIET_S):
                    connection = key.fileobj
                    at = sent[connection]
                    try:
                        sent[connection] += connection.send(request[at:at + (1 << 16)])
                    except BlockingIOError:
                        continue
                    except (BrokenPipeError, ConnectionResetError):
                        sent[connection] = len(request)
                    last = time.monotonic()
                    if sent[connection] == len(request):
                        selector.unregister(connection)
        self.assertGreater(sum(sent.values()), 0)
        self.assert_serves(server, "while they stall")
        self.assert_bounded(server)
        for connection in sent:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
        self.assert_serves(server, "when they are gone")
        self.assertEqual(server.publish("c", "x" * (BODY_BYTES - 100))[0], 200)
        self.assert_bounded(server)


if __name__ == "__main__":
    daemon.main()
