"""A disk that is full of events which have all expired: the server gets its space back by itself
(promises 6, 7 and 9)."""
import os
import signal
import subprocess
import time

import daemon
import wire

FLAGS = ("--event-buffer", "100000")
TTL_S = 3


class FullDisk(daemon.TestCase):
    """A tmpfs of 4 MiB."""

    def setUp(self):
        super().setUp()
        disk = os.path.join(self.directory, "disk")
        os.mkdir(disk)
        if os.geteuid() != 0:
            self.skipTest("mounting a tmpfs takes root")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk],
                              capture_output=True, text=True)
        if done.returncode != 0:
            self.skipTest("no tmpfs: " + done.stderr.strip())
        self.addCleanup(subprocess.run, ["umount", "-l", disk])
        self.store = daemon.store_at(os.path.join(disk, "store"), segment="256KiB")

    def publish(self, connection, n):
        """Whether it was kept."""
        status, body = connection.publish("c", {"n": n, "pad": "x" * 5000})
        self.assertIn(status, (200, 503), body)
        (self.kept if status == 200 else self.refused).append(n)
        return status == 200

    def assert_only_kept(self, connection, since_time):
        """Whoever reads sees nothing that was refused, and what is there in order."""
        seen, position = [], {"since_time": since_time}
        while "events" in (answer := connection.poll("c", **position)):
            seen += [event["data"]["n"] for event in answer["events"]]
            last = answer["events"][-1]
            position = {"since_time": last["timestamp"], "last_id": last["id"]}
        self.assertEqual(seen, sorted(set(seen)))
        self.assertEqual(set(seen) - set(self.kept), set(), "it was refused, and is there")
        return seen

    def test_when_all_has_expired_publishing_goes_on_by_itself(self):
        self.kept, self.refused = [], []
        server = self.start(*FLAGS, "--event-ttl", str(TTL_S))
        connection = wire.Connection(server)
        self.addCleanup(connection.close)
        n = 0
        while self.publish(connection, n):
            n += 1
            self.assertLess(n, 2000, "the disk is never full")
        end = time.monotonic() + daemon.DEADLINE_S
        while True:
            # Fifty in a row: the space is back, not just room for one more in a segment.
            if all(self.publish(connection, n := n + 1) for _ in range(50)):
                break
            self.assertLess(time.monotonic(), end, "the events have expired, and publishing does "
                            "not go on:\n" + server.log()[-1000:])
            time.sleep(0.1)
        self.assert_healthy(server)
        self.assert_only_kept(connection, 1)
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0, server.log())

        again = self.start(*FLAGS, "--event-ttl", "600")
        connection = wire.Connection(again)
        self.addCleanup(connection.close)
        self.assertTrue(self.publish(connection, n + 1), again.log())
        seen = self.assert_only_kept(connection, 1)
        self.assertEqual(seen[-1], n + 1)
        self.assertGreater(seen[0], self.refused[0], "what had expired has come back")


if __name__ == "__main__":
    daemon.main()
