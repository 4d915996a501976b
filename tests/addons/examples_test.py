#!/usr/bin/env python3
"""The programs of examples/ do what their first comment says. Argument: the directory they were built into."""
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

PROGRAMS = sys.argv[1]
DEADLINE_S = 20


def run(name, *arguments):
    return subprocess.run([os.path.join(PROGRAMS, name), *arguments], capture_output=True, text=True,
                          timeout=DEADLINE_S, check=True).stdout.splitlines()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A program that listens; ready when its port accepts."""

    def __init__(self, name, port, *arguments):
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen([os.path.join(PROGRAMS, name), *arguments])
        deadline = time.monotonic() + DEADLINE_S
        while True:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    return
            assert self.process.poll() is None, f"{name} ended with {self.process.returncode}"
            assert time.monotonic() < deadline, f"{name} does not listen"
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def get(self, path, body=None, headers=()):
        request = urllib.request.Request(self.url + path, data=body, headers=dict(headers))
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return json.load(answer)

    def get_when_serving(self, path):
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                return self.get(path)
            except urllib.error.HTTPError as error:  # 503 while the journal is replayed
                assert error.code == 503 and time.monotonic() < deadline, error
                time.sleep(0.02)


def in_process_receives_ten_events_in_order():
    assert run("in_process") == [f'received {{"number":{i}}}' for i in range(10)]


def ten_line_addon_keeps_what_every_start_published():
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "events")
        seen = []
        for count in range(1, 5):
            lines = run("ten_line_addon", path)
            assert len(lines) == count and lines[:-1] == seen, (lines, seen)
            seen = lines


def own_handler_asks_for_the_token():
    port = free_port()
    token = [("Authorization", "Bearer letmein")]
    with Server("own_handler", port, str(port)) as server:
        for path in ("/feed?category=c&timeout=1", "/send"):
            try:
                server.get(path)
            except urllib.error.HTTPError as error:
                assert error.code == 403, error
            else:
                raise AssertionError(f"{path} needs no token")
        sent = server.get("/send", b'{"category":"c","data":[1]}', token)
        assert sent == {"success": True}, sent
        answer = server.get("/feed?category=c&timeout=10&since_time=1", headers=token)
        assert [event["data"] for event in answer["events"]] == [[1]], answer


def server_keeps_its_ticks_across_kill_9():
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        arguments = [os.path.join(directory, "journal"), f"127.0.0.1:{port}"]
        with Server("server", port, *arguments) as server:
            first = server.get_when_serving("/events?category=ticks&timeout=10")["events"][0]
        with Server("server", port, *arguments) as server:
            path = f"/events?category=ticks&timeout=10&since_time={first['timestamp'] - 1}"
            answer = server.get_when_serving(path)
            assert answer["events"][0] == first, (answer, first)


TESTS = {
    "in_process": in_process_receives_ten_events_in_order,
    "ten_line_addon": ten_line_addon_keeps_what_every_start_published,
    "own_handler": own_handler_asks_for_the_token,
    "server": server_keeps_its_ticks_across_kill_9,
}

failed = 0
for program, test in TESTS.items():
    if program in sys.argv[2:] or len(sys.argv) == 2:
        try:
            test()
            print(f"ok      {test.__name__}")
        except (AssertionError, subprocess.SubprocessError, OSError, ValueError, KeyError) as error:
            failed += 1
            print(f"FAILED  {test.__name__}: {error!r}")
print(f"{failed} failed")
sys.exit(failed != 0)
