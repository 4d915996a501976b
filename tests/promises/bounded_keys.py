"""The directory of a store stays bounded when idempotency keys come fast and live long (promise 9):
as many are remembered as --max-idempotency-keys says, in each of the stores, and after a restart the
youngest of them are known still."""
import os
import signal

import daemon
import wire

KEYS_MAX = 500
KEY_PAD = "k" * 230
LIVING_BYTES = KEYS_MAX * (len(KEY_PAD) + 150)
CONSTANT = 7 << 20  # segments, a write-ahead log, space held back
COUNT = 40000       # their names alone are more than the bound
AT_ONCE = 50
FLAGS = ("--event-buffer", "10", "--max-idempotency-keys", str(KEYS_MAX),
         "--idempotency-window", "86400")


def request(n):
    body = b'{"category":"c","data":%d}' % n
    return (b"POST /publish HTTP/1.1\r\nHost: t\r\nIdempotency-Key: %d-%b\r\n"
            b"Prefer: return=representation\r\nContent-Length: %d\r\n\r\n%b" %
            (n, KEY_PAD.encode(), len(body), body))


class BoundedKeys(daemon.TestCase):
    def setUp(self):
        super().setUp()
        self.store = daemon.store_at(self.store_path, segment="256KiB")

    def size(self):
        total = 0
        for directory, _, files in os.walk(os.path.dirname(self.store_path)):
            for name in files:
                try:
                    total += os.stat(os.path.join(directory, name)).st_blocks * 512
                except FileNotFoundError:
                    pass
        return total

    def publish(self, connection, numbers):
        """One after the other."""
        connection.socket.sendall(b"".join(map(request, numbers)))
        answers = [connection.answer() for _ in numbers]
        self.assertEqual({status for status, _ in answers}, {200}, answers[0])
        return [body for _, body in answers]

    def connect(self, server):
        connection = wire.Connection(server)
        self.addCleanup(connection.close)
        return connection

    def test_a_long_flow_of_keys_leaves_a_bounded_store(self):
        bound = 4 * LIVING_BYTES + CONSTANT
        self.assertGreater(COUNT * len(KEY_PAD), bound)
        server = self.start(*FLAGS)
        connections = [self.connect(server) for _ in range(AT_ONCE)]
        for first in range(0, COUNT - AT_ONCE, AT_ONCE):  # kept in a commit or two
            for i, connection in enumerate(connections):
                connection.socket.sendall(request(first + i))
            for connection in connections:
                self.assertEqual(connection.answer()[0], 200)
        last = self.publish(connections[0], range(COUNT - AT_ONCE, COUNT))
        self.wait_for(lambda: self.size() <= bound)
        for how in [signal.SIGKILL, signal.SIGTERM]:
            server.signal(how)
            server.wait()
            server = self.start(*FLAGS)
            connection = self.connect(server)
            self.assertLessEqual(self.size(), bound)
            # In the ring there are fewer than the keys; what is known is not published again.
            self.assertEqual(self.publish(connection, range(COUNT - 10, COUNT)), last[-10:])
            self.publish(connection, range(COUNT - KEYS_MAX // 2, COUNT))
            events = connection.poll("c", since_time=1)["events"]
            self.assertEqual([event["data"] for event in events], list(range(COUNT - 10, COUNT)))


if __name__ == "__main__":
    daemon.main()
