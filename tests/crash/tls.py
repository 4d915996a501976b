"""longpolld over https: served, reloaded, refused with a reason, and shut down."""
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import warnings

import daemon


def make_certificate(directory, name, key_flags=("-nodes",)):
    """(chain, key), self-signed for `name`."""
    chain, key = os.path.join(directory, "chain.pem"), os.path.join(directory, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-days", "1", "-subj", f"/CN={name}",
                    "-keyout", key, "-out", chain, *key_flags], check=True, capture_output=True)
    return chain, key


class Https(daemon.TestCase):
    def setUp(self):
        super().setUp()
        self.chain, self.key = make_certificate(self.directory, "first")

    def serve(self, *flags, **options):
        options.setdefault("store", None)
        return self.start("--tls-chain", self.chain, "--tls-key", self.key, *flags, **options)

    def context(self, version=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
        if version:
            context.minimum_version = context.maximum_version = version
        return context

    def connection(self, server, version=None, port=None):
        connection = http.client.HTTPSConnection("127.0.0.1", port or server.port,
                                                 timeout=daemon.DEADLINE_S,
                                                 context=self.context(version))
        self.addCleanup(connection.close)
        return connection

    def ask(self, connection, method, path, body=None, headers=None):
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()

    def publish(self, connection, data):
        body = json.dumps({"category": "c", "data": data})
        self.assertEqual(self.ask(connection, "POST", "/publish", body),
                         (200, b'{"success": true}'))

    def name_seen(self, server):
        """The common name of the certificate that a new connection gets."""
        with socket.create_connection(("127.0.0.1", server.port), daemon.DEADLINE_S) as sock, \
                self.context().wrap_socket(sock) as wrapped:
            der = wrapped.getpeercert(binary_form=True)
        shown = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-subject"],
                               input=der, capture_output=True, check=True)
        return shown.stdout.decode().split("=")[-1].strip()

    def test_both_versions_are_served_and_an_older_one_is_not(self):
        server = self.serve()
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            with self.subTest(version):
                connection = self.connection(server, version)
                self.publish(connection, 1)
                status, body = self.ask(connection, "GET",
                                        "/events?timeout=1&category=c&since_time=1")
                self.assertEqual((status, json.loads(body)["events"][0]["data"]), (200, 1))
                self.assertEqual(connection.sock.selected_alpn_protocol(), "http/1.1")
                connection.close()
        old = self.context()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with socket.create_connection(("127.0.0.1", server.port), daemon.DEADLINE_S) as sock, \
                self.assertRaisesRegex(ssl.SSLError, "(?i)protocol.version"):
            old.wrap_socket(sock)

    def test_the_greeting_says_https(self):
        server = daemon.Daemon("--tls-chain", self.chain, "--tls-key", self.key, wait=False)
        self.addCleanup(server.__exit__)
        out = b""
        while b"/publish\n" not in out:
            some = os.read(server.process.stdout.fileno(), 4096)
            self.assertTrue(some, server.log())
            out += some
        self.assertIn(b"serves https://127.0.0.1:", out)
        self.assertNotIn(b"http://", out)

    def test_a_listener_for_publishing_speaks_tls_too(self):
        server = self.serve("--publish-listen", "127.0.0.1:0")
        self.publish(self.connection(server, port=server.publish_port), 1)
        self.assertEqual(self.ask(self.connection(server), "GET", "/metrics")[0], 200)

    def test_events_are_streamed(self):
        server = self.serve()
        connection = self.connection(server)
        connection.request("GET", "/events?timeout=60&category=c",
                           headers={"Accept": "text/event-stream"})
        response = connection.getresponse()
        self.assertEqual(response.getheader("Content-Type"), "text/event-stream")
        self.assertTrue(response.readline().startswith(b"id: "))
        self.publish(self.connection(server), "streamed")
        while not (line := response.readline()).startswith(b"data: "):
            self.assertTrue(line)
        self.assertEqual(json.loads(line[6:])["data"], "streamed")

    def test_sighup_gives_new_connections_the_new_certificate_and_leaves_the_old_alone(self):
        server = self.serve("--publish-listen", "127.0.0.1:0")
        parked, idle = self.connection(server), self.connection(server)
        self.assertEqual(self.ask(idle, "GET", "/health")[0], 200)
        parked.request("GET", "/events?timeout=60&category=c")
        stop, failures = threading.Event(), []

        def load():
            while not stop.is_set():
                try:
                    connection = self.connection(server, port=server.publish_port)
                    for _ in range(5):
                        self.assertEqual(self.ask(connection, "GET", "/health")[0], 200)
                    connection.close()
                except Exception as failure:  # pylint: disable=broad-except
                    failures.append(failure)
        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for name in "second", "third", "fourth":
                # Two files cannot be replaced at one instant: they are written elsewhere, and
                # longpolld reads them when it is told to.
                make_certificate(self.directory, name)
                server.signal(signal.SIGHUP)
                self.wait_for(lambda: self.name_seen(server) == name)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(self.ask(idle, "GET", "/health")[0], 200)
        self.publish(self.connection(server, port=server.publish_port), "still there")
        response = parked.getresponse()
        self.assertIn(b"still there", response.read())

    def test_a_bad_file_at_sighup_is_named_and_the_old_certificate_stays(self):
        server = self.serve()
        with open(self.key, "w", encoding="utf-8") as file:
            file.write("no key\n")
        server.signal(signal.SIGHUP)
        self.wait_for(lambda: self.key in server.log())
        self.assertIn("stays in use", server.log())
        self.assertEqual(self.name_seen(server), "first")

    def test_sighup_without_a_certificate_is_a_line_in_the_log(self):
        server = self.start(store=None)
        server.signal(signal.SIGHUP)
        self.wait_for(lambda: "SIGHUP" in server.log())
        self.assert_healthy(server)

    def test_files_that_cannot_be_used_are_named_at_the_start(self):
        other = os.path.join(self.directory, "other")
        locked = os.path.join(self.directory, "locked")
        os.mkdir(other)
        os.mkdir(locked)
        _, other_key = make_certificate(other, "other")
        locked_chain, locked_key = make_certificate(locked, "locked", ("-passout", "pass:secret"))
        for chain, key, file, word in [
                ("/nowhere.pem", self.key, "/nowhere.pem", "No such file"),
                (self.chain, self.directory, self.directory, "irectory"),
                (self.key, self.key, self.key, "no certificate in PEM"),
                (self.chain, self.chain, self.chain, "no private key"),
                (self.chain, other_key, other_key, "does not belong"),
                (locked_chain, locked_key, locked_key, "encrypted")]:
            with self.subTest(word):
                status, out, err = daemon.run("--listen", "127.0.0.1:0", "--tls-chain", chain,
                                              "--tls-key", key)
                self.assertEqual((status, out), (2, ""), err)
                self.assertRegex(err, r"(\A|\n)longpolld: TLS [^\n]+\n\Z")
                self.assertIn(f'"{file}"', err)
                self.assertIn(word, err)

    def test_sigterm_answers_who_waits(self):
        server = self.serve()
        waiting = [self.connection(server) for _ in range(20)]
        for connection in waiting:
            connection.request("GET", "/events?timeout=60&category=c")
        metrics = self.connection(server)
        self.wait_for(lambda: b"\nlongpoll_waiters 20\n" in self.ask(metrics, "GET", "/metrics")[1])
        server.signal(signal.SIGTERM)
        for connection in waiting:
            response = connection.getresponse()
            self.assertEqual(json.loads(response.read())["timeout"], "no events before timeout")
        self.assertEqual(server.wait(), 0)


if __name__ == "__main__":
    daemon.main()
