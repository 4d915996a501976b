"""A page in headless Chromium for the tests of this folder: serves it, and collects what it tells."""
import http.server
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.parse

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "reader.html")
NAMES = ("chromium", "chromium-browser", "google-chrome")


def find():
    """The path of a browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path.startswith("/reader"):
            with open(PAGE, "rb") as page:
                self.answer(200, page.read())
        else:
            self.answer(404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.reports.extend(json.loads(body))
        self.answer(204)

    def log_message(self, *_):
        pass


class Browser:
    """One page that reads a stream. `reports` is what it told, in its order."""

    def __init__(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.reports = self.reports = []
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.home = tempfile.mkdtemp(prefix="longpoll-browser-")
        self.process = None

    def read(self, target):
        """Opens the page, which reads the stream at the URL `target`."""
        url = f"{self.origin}/reader?" + urllib.parse.urlencode({"target": target})
        self.process = subprocess.Popen(
            [find(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--no-first-run", "--disable-extensions", "--disable-background-networking",
             "--remote-debugging-port=0", f"--user-data-dir={self.home}", url],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "HOME": self.home})

    def stop(self):
        """The whole browser stops, as on a sleeping laptop."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def go_on(self):
        os.killpg(self.process.pid, signal.SIGCONT)

    def wait_for(self, condition, seconds):
        """Whether it came to hold."""
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            time.sleep(0.02)
        return condition()

    def entries(self, name):
        return [entry for entry in list(self.reports) if name in entry]

    def numbers(self):
        """The numbers of the events that the page got."""
        return [entry["data"]["n"] for entry in self.entries("data")]

    def close(self):
        if self.process:
            for number in (signal.SIGCONT, signal.SIGKILL):
                try:
                    os.killpg(self.process.pid, number)
                except ProcessLookupError:
                    pass
            self.process.wait()
        self.server.shutdown()
        self.server.server_close()
        shutil.rmtree(self.home, ignore_errors=True)
