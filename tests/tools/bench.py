"""`longpoll bench`: its words, its rows, and that what is wrong with a server's answers fails it."""
import http.server
import json
import os
import signal
import threading
import time
import unittest

import tool

MODES = ["publish", "hold", "latency", "sse", "catch-up", "in-process", "store", "responder"]
OF_SERVERS = MODES[:5]
ROW = ["mode", "case", "server", "figure", "unit", "median", "low", "high", "rounds"]
SERVER = "http://127.0.0.1:1"


class Responder:
    """`longpoll bench responder`, while the test runs."""

    def __init__(self, test, *words):
        self.process = tool.start("bench", "responder", *words)
        test.addCleanup(self.end)
        said = self.process.stdout.readline().decode()
        test.assertRegex(said, r"\Alistening on http://127\.0\.0\.1:\d+\n\Z")
        self.url, self.pid = said.split()[-1], str(self.process.pid)

    def end(self):
        self.process.terminate()
        self.process.wait(tool.DEADLINE_S)
        self.process.stdout.close()
        self.process.stderr.close()


class Stutterer(http.server.BaseHTTPRequestHandler):
    """A server that answers each event twice."""
    protocol_version = "HTTP/1.1"
    published = threading.Condition()
    last = seen = None

    def log_message(self, *_):
        pass

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        event = {"timestamp": 1, **event, "id": "00000000-0000-7000-8000-000000000000"}
        with self.published:
            type(self).last = json.dumps(event, separators=(",", ":"))
            self.published.notify_all()
        self.answer(b'{"success": true}')

    def do_GET(self):
        with self.published:
            self.published.wait_for(lambda: self.last != self.seen, tool.DEADLINE_S)
            event = self.seen = self.last
        self.answer(('{"events":[%s,%s]}' % (event, event)).encode())


class Bench(tool.TestCase):
    def rows(self, *words):
        return [json.loads(line) for line in self.succeed("bench", *words, "--json").splitlines()]

    def fail_check(self, *words, mentions):
        status, out, err = tool.run(*words)
        self.assertEqual(status, tool.FAILED, err)
        self.assertNotEqual(out, b"")  # the figures are told all the same
        self.assertRegex(err, r"\Alongpoll: bench [a-z-]+: FAILED: [^\n]+\n\Z")
        for each in mentions:
            self.assertIn(each, err)

    def test_wrong_words_are_named_and_exit_with_2(self):
        for words, mentions in [
                ([], "longpoll bench --help"),
                (["publsh"], "did you mean longpoll bench publish?"),
                (["publish"], "--server URL --pid PID"),
                (["publish", SERVER], f'"{SERVER}"'),
                (["publish", "--server", "127.0.0.1:1"], '"127.0.0.1:1"'),
                (["publish", "--server", "a=longpoll"], '"a=longpoll"'),
                (["publish", "--server", f"=longpoll={SERVER}"], "NAME=KIND=URL"),
                (["publish", "--server", f"a=redis={SERVER}"], 'kind "redis": unknown'),
                (["publish", "--server", f"a=nchan={SERVER},port=1"], "NAME=KIND=URL"),
                (["publish", "--server", f"a=nchan={SERVER},pid=x"], 'pid "x"'),
                (["publish", "--server", f"a=nchan={SERVER}", "--server", f"a=nchan={SERVER}"],
                 "two servers of that name"),
                (["publish", "--server", SERVER, "--server", f"a=nchan={SERVER}", "--kind", "nchan"],
                 "--kind"),
                (["publish", "--server", f"a=nchan={SERVER}", "--pid", "1"], "--pid"),
                (["publish", "--server", SERVER, "--pid", "999999999"], '"999999999"'),
                (["publish", "--server", SERVER, "--kind", "redis"], '"redis"'),
                (["publish", "--server", SERVER, "--references", "h2o"], '--references "h2o"'),
                (["publish", "--server", SERVER, "--rounds", "0"], '--rounds "0"'),
                (["publish", "--server", SERVER, "--connections", "1,,2"], '--connections "1,,2"'),
                (["publish", "--server", SERVER, "--seconds", "soon"], '--seconds "soon"'),
                (["publish", "--server", SERVER, "--seconds", "0"], '--seconds "0"'),
                (["publish", "--server", SERVER, "--batch", "100000"], "--batch 100000"),
                (["publish", "--server", SERVER, "--batch", "2", "--kind", "golongpoll"],
                 "golongpoll cannot"),
                (["sse", "--server", SERVER, "--kind", "golongpoll"], "golongpoll cannot"),
                (["latency", "--server", SERVER, "--cursor", "java"], '--cursor "java"'),
                (["latency", "--server", SERVER, "--rate", "0"], '--rate "0"'),
                (["catch-up", "--server", SERVER, "--bytes", "3"], "--bytes 3"),
                (["hold", "--server", SERVER, "--references", "none"], "--pid PID"),
                (["hold", "--server", SERVER, "--waiters", "many"], '--waiters "many"'),
                (["responder", "--port", "65536"], '--port "65536"'),
                (["responder", "--event-buffer", "0"], '--event-buffer "0"')]:
            with self.subTest(words):
                self.fail_with(tool.USAGE, "bench", *words, mentions=[mentions])

    def test_help_is_there_for_each_mode(self):
        listed = self.succeed("bench", "--help").decode()
        for name in MODES:
            self.assertIn(f"\n  {name} ", listed)
            text = self.succeed("bench", name, "--help").decode()
            self.assertIn(f"Usage: longpoll bench {name} ", text)
            self.assertIn("Exit status: 0 done, 1 ", text)
            self.assertLessEqual(max(map(len, text.splitlines())), 100)

    def test_a_row_has_a_median_within_its_range_and_a_ratio_to_the_reference(self):
        server = Responder(self)
        rows = self.rows("publish", "--server", f"mine=responder={server.url},pid={server.pid}",
                         "--connections", "1,4", "--seconds", "0.05", "--references", "responder")
        for row in rows:
            self.assertEqual(list(row), ROW)
            self.assertEqual((row["mode"], row["rounds"]), ("publish", 3))
            self.assertLessEqual(row["low"], row["median"])
            self.assertLessEqual(row["median"], row["high"])
        self.assertEqual({row["case"] for row in rows}, {"1 connection", "4 connections"})
        for figure, unit in [("rate", "events/s"), ("server CPU", "us/event"),
                             ("client CPU", "us/event")]:
            of_figure = [row for row in rows if row["figure"] == figure]
            self.assertEqual({row["server"] for row in of_figure}, {"mine", "responder"})
            self.assertEqual({row["unit"] for row in of_figure}, {unit})
            ratios = [row for row in rows if row["figure"] == f"{figure} / responder"]
            self.assertEqual([(row["server"], row["unit"]) for row in ratios],
                             [("mine", "ratio")] * 2)

    def test_servers_take_turns_under_their_names(self):
        one, other = Responder(self), Responder(self)
        rows = self.rows("latency", "--server", f"one=responder={one.url}", "--server",
                         f"other=responder={other.url}", "--subscribers", "3", "--rate", "100",
                         "--seconds", "0.2", "--rounds", "2", "--references", "none")
        self.assertEqual({row["server"] for row in rows}, {"one", "other"})
        self.assertNotIn("server CPU", {row["figure"] for row in rows})  # no pid, no CPU

    def test_the_table_names_servers_figures_and_ratios(self):
        server = Responder(self)
        text = self.succeed("bench", "hold", "--server", server.url, "--pid", server.pid, "--kind",
                            "responder", "--waiters", "20", "--rounds", "1", "--references",
                            "responder").decode()
        self.assertIn("hold: 20 waiters\n", text)
        self.assertRegex(text, r"\n  responder +last woken +[0-9.]+ +ms")

    def test_an_answer_with_too_few_events_fails_it(self):
        server = Responder(self, "--event-buffer", "10")
        self.fail_check("bench", "catch-up", "--server", server.url, "--kind",
                       "responder", "--events", "20", "--connections", "2", "--seconds", "0.05",
                       "--rounds", "1", "--references", "none",
                       mentions=["has 10 events, not 20"])

    def test_an_event_that_comes_twice_fails_it(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stutterer)
        self.addCleanup(server.server_close)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(server.shutdown)
        self.fail_check("bench", "latency", "--server",
                       f"http://127.0.0.1:{server.server_port}", "--subscribers", "1", "--rate",
                       "20", "--seconds", "0.1", "--rounds", "1", "--references", "none",
                        mentions=["events came again, or out of order"])

    def test_a_server_that_is_not_there_is_named(self):
        for mode in OF_SERVERS:
            if mode != "hold":
                self.fail_with(tool.FAILED, "bench", mode, "--server", SERVER, "--rounds", "1",
                               "--references", "none", mentions=["refused"])

    def test_more_connections_than_descriptors_are_left_out(self):
        server = Responder(self)
        self.fail_with(tool.FAILED, "bench", "hold", "--server", server.url, "--pid", server.pid,
                       "--kind", "responder", "--waiters", "10000000", "--references", "none",
                       mentions=["left out: takes 10000", "ulimit -Hn"])

    def test_an_interrupted_run_takes_its_references_along(self):
        process = tool.start("bench", "publish", "--server", Responder(self).url, "--kind",
                             "responder", "--seconds", "600", "--references", "responder")
        children = f"/proc/{process.pid}/task/{process.pid}/children"
        deadline = time.monotonic() + tool.DEADLINE_S
        child = []
        while not child:
            with open(children, encoding="ascii") as file:
                child = file.read().split()
            self.assertLess(time.monotonic(), deadline)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=tool.DEADLINE_S)
        self.assertEqual((process.returncode, out), (128 + signal.SIGINT, b""))
        self.assertIn(b"ended by Interrupt", said)
        self.assertFalse(os.path.exists(f"/proc/{child[0]}"))


if __name__ == "__main__":
    tool.main()
