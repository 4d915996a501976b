"""SIGTERM and SIGINT: every waiter is answered, every accepted event is kept, the exit status is 0,
and it ends by its deadline whatever the disk does (promise 10)."""
import argparse
import http.client
import json
import os
import signal
import threading

import daemon

TIMEOUT_BODY = "no events before timeout"


class Poll(threading.Thread):
    """One poll that is to wait until the server is told to end."""

    def __init__(self, server):
        super().__init__()
        self.connection = server.connection()
        self.connection.request("GET", "/events?timeout=100&category=quiet")
        self.body = self.headers = None

    def run(self):
        response = self.connection.getresponse()
        self.headers, self.body = response.headers, json.loads(response.read())
        self.connection.close()


class Publisher(threading.Thread):
    """Publishes without a pause until it is refused."""

    def __init__(self, server, number):
        super().__init__()
        self.server, self.number, self.kept, self.end = server, number, [], None

    def run(self):
        connection = self.server.connection()
        n = 0
        try:
            while self.end is None:
                status, body = self.server.publish("c", [self.number, n], connection)
                if status == 200:
                    self.kept.append([self.number, n])
                else:
                    self.end = status
                n += 1
        except (OSError, http.client.HTTPException) as error:
            self.end = error  # the listener was closed; nothing was promised
        finally:
            connection.close()


class Shutdown(daemon.TestCase):
    FLAGS = ("--event-buffer", "1000000")

    def wait_for_polls(self, server, count):
        """Until the server has read as many polls: they wait before this publish is answered."""
        self.assertEqual(server.publish("other", count)[0], 200)

    def drain(self, number):
        server = self.start(*self.FLAGS)
        polls = [Poll(server) for _ in range(100)]
        publishers = [Publisher(server, i) for i in range(4)]
        for thread in polls + publishers:
            thread.start()
        self.wait_for_polls(server, len(polls))
        self.wait_for(lambda: all(publisher.kept for publisher in publishers))
        server.signal(number)
        self.assertEqual(server.wait(), 0, server.log())
        for thread in polls + publishers:
            thread.join(daemon.DEADLINE_S)
            self.assertFalse(thread.is_alive())
        for poll in polls:
            self.assertEqual(poll.body["timeout"], TIMEOUT_BODY)
            self.assertEqual(poll.headers["Connection"], "close")
        for publisher in publishers:
            self.assertTrue(publisher.end == 503 or isinstance(publisher.end, Exception),
                            publisher.end)
        again = self.start(*self.FLAGS)
        there = again.kept("c", "mark")
        for publisher in publishers:
            mine = [data for data in there if data[0] == publisher.number]
            self.assertEqual(mine[:len(publisher.kept)], publisher.kept)
            # The last one may have been kept while its answer was cut off.
            self.assertLessEqual(len(mine) - len(publisher.kept), 1)

    def test_sigterm_answers_waiters_and_keeps_what_was_accepted(self):
        self.drain(signal.SIGTERM)

    def test_sigint_does_the_same(self):
        self.drain(signal.SIGINT)

    def test_an_idle_server_ends_at_once_with_status_0(self):
        server = self.start()
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0, server.log())

    def test_a_server_in_memory_answers_its_waiters_too(self):
        server = self.start(store="memory")
        poll = Poll(server)
        poll.start()
        self.wait_for_polls(server, 1)
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0, server.log())
        poll.join(daemon.DEADLINE_S)
        self.assertEqual(poll.body["timeout"], TIMEOUT_BODY)


class StalledDisk(daemon.TestCase):
    """No fdatasync returns any more (stall.c)."""

    def stuck(self, timeout):
        """A server whose store hangs in a commit, and the publish that waits for it."""
        stall = os.path.join(self.directory, "stall")
        server = self.start("--shutdown-timeout", timeout,
                            store=daemon.store_at(self.store_path, "always"),
                            env={"LD_PRELOAD": arguments.stall, "STALL": stall})
        self.assertEqual(server.publish("c", 1)[0], 200)
        with open(stall, "w", encoding="utf-8"):
            pass
        pending = server.connection()
        self.addCleanup(pending.close)
        pending.request("POST", "/publish", '{"category":"c","data":2}')
        self.wait_for(lambda: os.path.exists(stall + ".reached"))
        return server, pending

    def test_past_the_deadline_publishers_are_told_and_it_ends(self):
        server, pending = self.stuck("0.5")
        server.signal(signal.SIGTERM)
        response = pending.getresponse()
        self.assertEqual(response.status, 503)
        self.assertIn("error", json.loads(response.read()))
        self.assertEqual(server.wait(), 1)
        self.assertRegex(server.log(), "1 publishes were not kept")

    def test_a_second_signal_ends_it_at_once(self):
        server, _ = self.stuck("600")
        server.signal(signal.SIGTERM)
        self.wait_for(lambda: "shutting down" in server.log())
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 128 + signal.SIGTERM)

    def test_a_store_that_comes_back_in_time_keeps_what_was_pending(self):
        server, pending = self.stuck("600")
        server.signal(signal.SIGTERM)
        self.wait_for(lambda: "shutting down" in server.log())
        os.unlink(os.path.join(self.directory, "stall"))
        self.assertEqual(pending.getresponse().status, 200)
        self.assertEqual(server.wait(), 0, server.log())
        self.assertEqual(self.start().kept("c", "mark"), [1, 2])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--stall", required=True, help="the library built from stall.c")
    daemon.main(parser)
