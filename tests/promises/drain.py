"""SIGTERM at bad moments: in the middle of a replay, and with a crowd that waits for events and for
the store (promise 10)."""
import argparse
import json
import os
import signal
import socket

import daemon
import wire

WAITERS = 200
PENDING = 50


class Replay(daemon.TestCase):
    FLAGS = ("--event-buffer", "100000")
    EVENTS = 1500

    def test_sigterm_during_a_long_replay_ends_it_with_status_0_and_loses_nothing(self):
        why = daemon.strace_refuses()
        if why:
            self.skipTest(why)
        self.store = daemon.store_at(self.store_path, segment="1MiB")
        server = self.start(*self.FLAGS)
        connection = wire.Connection(server)
        connection.publish_all(("c", [n, "x" * 10000]) for n in range(self.EVENTS))
        connection.close()
        # No kill: SQLite reads a log that was left behind in one go, which nothing can end.
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0, server.log())

        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        # Each read takes a fifth of a second, so all of them take longer than a shutdown may.
        server = self.start(*self.FLAGS, listen=address, wait=False,
                            prefix=daemon.strace("pread64:delay_enter=200000"))
        self.wait_for(lambda: self.health(server) is not None)
        self.assertEqual(self.health(server), (503, "starting"))
        with open(f"/proc/{server.process.pid}/task/{server.process.pid}/children") as children:
            os.kill(int(children.read().split()[0]), signal.SIGTERM)
        self.assertEqual(server.wait(), 0, server.log())

        again = self.start(*self.FLAGS)
        self.assertEqual([data[0] for data in again.kept("c", "mark")], list(range(self.EVENTS)))

    def health(self, server):
        try:
            status, body = server.request("GET", "/health")
            return status, json.loads(body)["status"]
        except ConnectionRefusedError:
            return None


class Crowd(daemon.TestCase):
    def test_sigterm_answers_200_waiters_and_keeps_50_pending_publishes(self):
        stall = os.path.join(self.directory, "stall")
        server = self.start("--shutdown-timeout", "600",
                            store=daemon.store_at(self.store_path, "always"),
                            env={"LD_PRELOAD": arguments.stall, "STALL": stall})
        self.assertEqual(server.publish("c", "first")[0], 200)
        waiters = [wire.Connection(server) for _ in range(WAITERS)]
        publishers = [wire.Connection(server) for _ in range(PENDING)]
        for connection in waiters + publishers:
            self.addCleanup(connection.close)
        for waiter in waiters:
            waiter.send_poll("quiet", timeout=100)
        # Everything sent before has been read when this is answered, for the loop serves in turn.
        self.assertEqual(server.publish("other", 1)[0], 200)
        with open(stall, "w", encoding="utf-8"):
            pass
        for n, publisher in enumerate(publishers):
            publisher.send_publish("c", n)
        self.wait_for(lambda: os.path.exists(stall + ".reached"))
        self.assert_healthy(server)
        server.signal(signal.SIGTERM)
        self.wait_for(lambda: "shutting down" in server.log())
        # The waiters do not wait for the store.
        for waiter in waiters:
            status, body = waiter.answer()
            self.assertEqual((status, json.loads(body)["timeout"]),
                             (200, "no events before timeout"))
        self.assertIsNone(server.process.poll())
        os.unlink(stall)
        for publisher in publishers:
            self.assertEqual(publisher.answer(), (200, b'{"success": true}'))
        self.assertEqual(server.wait(), 0, server.log())
        kept = self.start().kept("c", "mark")
        self.assertEqual(kept[0], "first")
        self.assertEqual(sorted(kept[1:]), list(range(PENDING)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--stall", required=True, help="the library built from stall.c")
    daemon.main(parser)
