"""Runs longpolld for the tests in this folder: start, publish, poll, kill, restart.

A test program calls main(), which takes --daemon PATH and --kind STORE (journal, sqlite, lmdb), and
hands the rest to unittest. It exits with 77 when every one of its tests was skipped. Everything that is waited for has a deadline.
"""
import argparse
import http.client
import json
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse

DEADLINE_S = 30
EXIT_SKIPPED = 77

longpolld = None  # the path of the program under test, set by main()
kind = "journal"  # of the stores that tests use, set by main()


class Failed(Exception):
    """longpolld ended, or did not do in time what it should."""


def store_at(path, sync=None, segment=None):
    """A store of the kind under test, as --store takes it. Its parent directory is made, and holds
    all that belongs to it. Only a journal has segments."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    options = [f"sync={sync}"] if sync else []
    if segment and kind == "journal":
        options.append(f"segment={segment}")
    return f"{kind}:{path}" + ("?" + "&".join(options) if options else "")


class Daemon:
    """One running longpolld. `prefix` is a command to run it under, such as strace."""

    def __init__(self, *flags, store=None, prefix=(), listen="127.0.0.1:0", wait=True, env=None,
                 preexec_fn=None):
        self.flags = list(flags)
        if store is not None:
            self.flags += ["--store", store]
        self.log_file = tempfile.TemporaryFile()
        # LeakSanitizer cannot look for leaks in a process that is traced, and what is preloaded
        # comes before the sanitizer's own library.
        options = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        options += ":detect_leaks=0" if prefix else ""
        self.process = subprocess.Popen(
            [*prefix, longpolld, "--listen", listen, *self.flags], stdout=subprocess.PIPE,
            stderr=self.log_file, preexec_fn=preexec_fn,
            env={**os.environ, "ASAN_OPTIONS": options, **(env or {})})
        self.port = int(listen.rsplit(":", 1)[1])
        self.pid = self.process.pid
        if wait:
            try:
                self.wait_until_serving()
            except Failed:
                self.__exit__()
                raise

    def wait_until_serving(self):
        """Reads the greeting, which tells the port."""
        greeting = b""
        end = time.monotonic() + DEADLINE_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b"/publish\n" not in greeting:
                if not selector.select(max(0, end - time.monotonic())):
                    raise Failed("longpolld did not start in time:\n" + self.log())
                some = os.read(self.process.stdout.fileno(), 4096)
                if not some:
                    self.process.wait()
                    raise Failed(f"longpolld ended with {self.process.returncode}:\n{self.log()}")
                greeting += some
        self.port = int(re.search(rb"serves https?://[^ ;\n]*:(\d+)", greeting)[1])
        self.publish_port = int(re.search(rb"https?://[^ ]*:(\d+)/publish", greeting)[1])
        self.pid = int(re.search(r"process (\d+)", self.log())[1])

    def log(self):
        """What it has written to standard error so far."""
        return os.pread(self.log_file.fileno(), 1 << 24, 0).decode("utf-8", "replace")

    def connect(self, port=None, timeout=DEADLINE_S):
        return socket.create_connection(("127.0.0.1", port or self.port), timeout)

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)

    def request(self, method, path, body=None, headers=None, connection=None):
        """(status, body) of one request, on a connection of its own unless one is given."""
        used = connection or self.connection()
        try:
            used.request(method, path, body, headers or {})
            response = used.getresponse()
            return response.status, response.read()
        finally:
            if connection is None:
                used.close()

    def is_healthy(self):
        try:
            return self.request("GET", "/health")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def publish(self, category, data, connection=None):
        body = json.dumps({"category": category, "data": data})
        return self.request("POST", "/publish", body, connection=connection)

    def poll(self, category, since_time=None, last_id=None, timeout=1, connection=None):
        """The answer of one poll, decoded."""
        query = {"category": category, "timeout": timeout}
        if since_time is not None:
            query["since_time"] = since_time
        if last_id is not None:
            query["last_id"] = last_id
        status, body = self.request("GET", "/events?" + urllib.parse.urlencode(query),
                                    connection=connection)
        if status != 200:
            raise Failed(f"poll: {status} {body!r}")
        return json.loads(body)

    def history(self, category, until):
        """Every event of a category, oldest first, up to the one with the data `until`."""
        events = []
        connection = self.connection()
        cursor = {"since_time": 1}
        while not events or events[-1]["data"] != until:
            answer = self.poll(category, connection=connection, **cursor)
            if "events" not in answer:
                raise Failed(f"history of {category}: {answer} before {until} was seen")
            events += answer["events"]
            cursor = {"since_time": events[-1]["timestamp"], "last_id": events[-1]["id"]}
        connection.close()
        return events

    def kept(self, category, mark):
        """The data of every event of a category; publishes `mark` to know where it ends."""
        status, body = self.publish(category, mark)
        if status != 200:
            raise Failed(f"publish after a restart: {status} {body!r}")
        return [event["data"] for event in self.history(category, mark)[:-1]]

    def signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        """kill -9, and waits until it is gone."""
        if self.process.poll() is None:
            try:
                self.signal(signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait(DEADLINE_S)
        self.process.stdout.close()

    def wait(self, timeout=DEADLINE_S):
        """Waits until it has ended by itself: its exit status."""
        return self.process.wait(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.log_file.close()


class TestCase(unittest.TestCase):
    """A test with a directory of its own, which is gone afterwards."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="longpoll-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.store_path = os.path.join(self.directory, "kept", "store")
        self.store = store_at(self.store_path)

    def start(self, *flags, **options):
        """A Daemon that is killed when the test ends; on self.store unless told otherwise."""
        options.setdefault("store", self.store)
        daemon = Daemon(*flags, **options)
        self.addCleanup(daemon.__exit__)
        return daemon

    def wait_for(self, condition):
        """Until it holds; fails at the deadline."""
        end = time.monotonic() + DEADLINE_S
        while not condition():
            self.assertLess(time.monotonic(), end, "it did not come to pass")
            time.sleep(0.005)

    def assert_healthy(self, daemon):
        self.assertIsNone(daemon.process.poll(), daemon.log())
        self.assertEqual(daemon.request("GET", "/health")[0], 200)


def run(*flags, prefix=(), env=None):
    """Runs longpolld to its end, which must come by itself: (exit status, stdout, stderr)."""
    done = subprocess.run([*prefix, longpolld, *flags], capture_output=True, text=True,
                          timeout=DEADLINE_S, env={**os.environ, **(env or {})})
    return done.returncode, done.stdout, done.stderr


def strace_refuses():
    """Why strace cannot be used here, or None."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(["strace", "-f", "-o", "/dev/null", "-e", "inject=getpid:error=EIO",
                           "true"], capture_output=True, text=True)
    return None if done.returncode == 0 else "strace: " + done.stderr.strip().split("\n")[-1]


def strace(inject, log="/dev/null"):
    """The command under which longpolld finds a system call tampered with, as strace(1) says."""
    call = inject.split(":")[0]
    return ["strace", "-f", "-qq", "-o", log, "-e", f"trace={call}", "-e", f"inject={inject}"]


def main(parser=None):
    """unittest.main() for the programs of this folder; returns the arguments of `parser` too."""
    global longpolld, kind
    parser = parser or argparse.ArgumentParser()
    parser.add_argument("--daemon", required=True, help="the longpolld under test")
    parser.add_argument("--kind", default=kind, help="the kind of store: journal, sqlite or lmdb")
    arguments, rest = parser.parse_known_args()
    longpolld = os.path.abspath(arguments.daemon)
    kind = arguments.kind
    sys.modules["__main__"].arguments = arguments
    # A program imports this file by its name, so it sees the path that was set here.
    program = unittest.main(argv=[sys.argv[0], *rest], verbosity=2, exit=False)
    result = program.result
    if result.wasSuccessful() and result.testsRun > 0 and len(result.skipped) == result.testsRun:
        sys.exit(EXIT_SKIPPED)
    sys.exit(0 if result.wasSuccessful() else 1)
