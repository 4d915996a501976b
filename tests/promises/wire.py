"""A connection to longpolld that is kept, sends what it is told and reads whole answers: for tests
that need thousands of requests in a moment, or answers read slowly."""
import json
import socket
import urllib.parse

import daemon


class Connection:
    """`receive_bytes` is the size of the receive buffer, for readers that are to be slow."""

    def __init__(self, server, receive_bytes=None):
        self.socket = socket.socket()
        self.socket.settimeout(daemon.DEADLINE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.connect(("127.0.0.1", server.port))
        self.unread = bytearray()

    def receive(self):
        some = self.socket.recv(1 << 16)
        if not some:
            raise daemon.Failed(f"the connection ended behind {bytes(self.unread[:200])!r}")
        self.unread += some

    def answer(self, between=lambda: None):
        """(status, body) of the next answer; `between` is called before each read of its body."""
        while b"\r\n\r\n" not in self.unread:
            self.receive()
        head, _, _ = bytes(self.unread).partition(b"\r\n\r\n")
        del self.unread[:len(head) + 4]
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        length = int(headers["content-length"])
        while len(self.unread) < length:
            between()
            self.receive()
        body = bytes(self.unread[:length])
        del self.unread[:length]
        return int(lines[0].split()[1]), body

    def send_publish(self, category, data):
        self.socket.sendall(publish_request(category, data))

    def send_poll(self, category, **query):
        query = urllib.parse.urlencode({"category": category, "timeout": 1, **query})
        self.socket.sendall(f"GET /events?{query} HTTP/1.1\r\nHost: longpolld\r\n\r\n".encode())

    def publish(self, category, data):
        self.send_publish(category, data)
        return self.answer()

    def poll(self, category, **query):
        self.send_poll(category, **query)
        status, body = self.answer()
        if status != 200:
            raise daemon.Failed(f"poll: {status} {body!r}")
        return json.loads(body)

    def publish_all(self, events):
        """Publishes (category, data) pairs, some at a time; every one must be kept."""
        events = list(events)
        for first in range(0, len(events), 20):
            some = events[first:first + 20]
            self.socket.sendall(b"".join(publish_request(*event) for event in some))
            for event in some:
                status, body = self.answer()
                if status != 200:
                    raise daemon.Failed(f"publish of {str(event)[:80]}: {status} {body!r}")

    def close(self):
        self.socket.close()


def publish_request(category, data):
    body = json.dumps({"category": category, "data": data}).encode()
    return b"POST /publish HTTP/1.1\r\nHost: longpolld\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body), body)
