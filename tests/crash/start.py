"""What longpolld says and does when it cannot start, or is told nonsense: one sentence on standard
error that names the thing, and an exit status."""
import json
import os
import shutil
import socket
import subprocess
import time

import daemon

NOBODY = 65534


class WrongFlags(daemon.TestCase):
    def assert_refused(self, *flags, mentions):
        status, out, err = daemon.run(*flags)
        self.assertEqual((status, out), (2, ""), err)
        self.assertRegex(err, r"\Alongpolld: [^\n]+\n\Z")
        self.assertIn(mentions, err)

    def test_a_wrong_flag_or_value_is_named(self):
        for flags, mentions in [
                (["--event-bufer", "5"], "--event-bufer"),
                (["serve"], '"serve"'),
                (["-v"], '"-v"'),
                (["--"], "--"),
                (["--listen"], "--listen"),
                (["--event-buffer", "many"], '"many"'),
                (["--event-buffer", "-5"], '"-5"'),
                (["--event-buffer", "0"], '"0"'),
                (["--event-buffer=5x"], '"5x"'),
                (["--event-buffer", "99999999999999999999"], "--event-buffer"),
                (["--event-ttl", "1.5"], '"1.5"'),
                (["--max-timeout", "0"], '"0"'),
                (["--max-event-bytes", "1MB"], '"1MB"'),
                (["--max-event-bytes", "9999999999GiB"], "--max-event-bytes"),
                (["--shutdown-timeout", "soon"], '"soon"'),
                (["--log-level", "loud"], '"loud"'),
                (["--delete-after-first-retrieval=yes"], "--delete-after-first-retrieval"),
                (["--tls-chain", "x.pem"], "--tls-key"),
                (["--tls-key", "x.pem"], "--tls-chain"),
                (["--cors-origin", "a.example"], '"a.example"'),
                (["--cors-origin=https://a.example"] * 65, "--cors-origin"),
                (["--strict-status=no"], "--strict-status"),
                (["--publish-rate", "0"], '"0"'),
                (["--publish-burst", "1.5"], '"1.5"'),
                (["--stream-heartbeat", "often"], '"often"'),
                (["--idempotency-window", "0.5"], '"0.5"'),
                (["--max-idempotency-keys", "-1"], '"-1"'),
                (["--max-poll-categories", "0"], '"0"'),
                (["--max-interests", "x"], '"x"'),
                (["--store", "redis:x"], '"redis:x"'),
                (["--store", "journal:"], "journal:"),
                (["--store", "journal:x?sync=sometimes"], '"sometimes"'),
                (["--store", "journal:x?sync"], '"sync"'),
                (["--store", "journal:x?sync=interval:0s"], '"interval:0s"'),
                (["--store", "journal:x?speed=high"], '"speed"'),
                (["--store", "journal:x?segment=big"], '"big"'),
                (["--listen", "nowhere"], "nowhere"),
                (["--listen", "127.0.0.1:99999"], "99999"),
                (["--listen", "127.0.0.1:0", "--publish-listen", "127.0.0.1"], "127.0.0.1"),
        ]:
            with self.subTest(" ".join(flags)):
                self.assert_refused(*flags, mentions=mentions)

    def test_help_names_every_flag_and_version_is_said(self):
        status, out, err = daemon.run("--help")
        self.assertEqual((status, err), (0, ""))
        for flag in ["--listen", "--publish-listen", "--store", "--event-buffer", "--event-ttl",
                     "--max-timeout", "--delete-after-first-retrieval", "--max-waiters",
                     "--max-connections", "--shutdown-timeout", "--log-level", "--tls-chain",
                     "--tls-key", "--cors-origin", "--strict-status", "--publish-rate",
                     "--publish-burst", "--idempotency-window", "--max-idempotency-keys",
                     "--max-poll-categories", "--max-interests", "--stream-heartbeat"]:
            self.assertIn(flag, out)
        self.assertRegex(daemon.run("--version")[1], r"\Alongpolld \d+\.\d+\.\d+\n"
                         r"stores: memory journal( sqlite)?( lmdb)?\n\Z")


class Stores(daemon.TestCase):
    def assert_fails(self, *flags, mentions, prefix=()):
        status, out, err = daemon.run("--listen", "127.0.0.1:0", *flags, prefix=prefix)
        self.assertEqual((status, out), (1, ""), err)
        self.assertRegex(err, r"(\A|\n)longpolld: [^\n]+\n\Z")
        for word in mentions:
            self.assertIn(word, err)

    def test_a_store_in_use_names_the_process(self):
        server = self.start()
        self.assert_fails("--store", self.store, mentions=[self.store, str(server.pid), "in use"])
        self.assert_healthy(server)

    def test_a_store_is_free_again_after_kill_9(self):
        self.start().kill()
        self.start()

    def test_a_path_that_is_a_file_is_refused_and_left_alone(self):
        path = os.path.join(self.directory, "file")
        with open(path, "w", encoding="utf-8") as file:
            file.write("precious")
        self.assert_fails("--store", daemon.store_at(path), mentions=[path])
        with open(path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "precious")

    def test_a_directory_of_another_kind_of_store_is_refused_and_left_alone(self):
        if daemon.kind == "sqlite":
            self.skipTest("its store is a file")
        self.start().kill()
        other = "lmdb" if daemon.kind == "journal" else "journal"
        if other not in daemon.run("--version")[1]:
            self.skipTest(f"{other} is not compiled in")
        before = sorted(os.listdir(self.store_path))
        self.assert_fails("--store", f"{other}:{self.store_path}", mentions=[self.store_path])
        self.assertEqual(sorted(os.listdir(self.store_path)), before)

    def test_a_directory_whose_parent_is_missing_is_refused(self):
        self.assert_fails("--store", f"{daemon.kind}:{self.directory}/no/store",
                          mentions=["no/store"])

    def test_a_directory_without_permission_is_refused(self):
        path = os.path.join(self.directory, "store")
        os.mkdir(path)
        prefix = []
        if os.geteuid() == 0:
            # Root may write everywhere. The program must be where nobody may read it.
            program = shutil.copy(daemon.longpolld, self.directory)
            os.chmod(self.directory, 0o755)
            os.chmod(path, 0o755)
            prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            done = subprocess.run([*prefix, program, "--version"], capture_output=True, text=True)
            if done.returncode != 0:
                self.skipTest("setpriv: " + done.stderr.strip())
            self.addCleanup(setattr, daemon, "longpolld", daemon.longpolld)
            daemon.longpolld = program
        else:
            os.chmod(path, 0o555)
        self.assert_fails("--store", daemon.store_at(os.path.join(path, "store")), prefix=prefix,
                          mentions=[path, "ermission"])

    def test_until_the_store_is_replayed_every_answer_is_503(self):
        why = daemon.strace_refuses()
        if why:
            self.skipTest(why)
        first = self.start()
        self.assertEqual(first.publish("c", "old")[0], 200)
        first.kill()
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        # The first read of the store takes five seconds.
        server = self.start(listen=address, wait=False,
                            prefix=daemon.strace("pread64:delay_enter=5000000:when=1"))
        end = time.monotonic() + daemon.DEADLINE_S
        while True:
            try:
                status, body = server.request("GET", "/health")
                break
            except ConnectionRefusedError:
                self.assertLess(time.monotonic(), end)
        self.assertEqual((status, json.loads(body)["status"]), (503, "starting"))
        self.assertEqual(server.request("GET", "/events?timeout=1&category=c&since_time=1")[0], 503)
        self.assertEqual(server.publish("c", "new")[0], 503)
        server.wait_until_serving()
        self.assert_healthy(server)
        self.assertEqual(server.kept("c", "mark"), ["old"])


class Listeners(daemon.TestCase):
    def test_an_address_in_use_is_named(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            status, out, err = daemon.run("--listen", address)
        self.assertEqual((status, out), (1, ""), err)
        self.assertIn(address, err)

    def test_without_flags_it_binds_loopback_alone(self):
        # The default port may be taken on this machine, so look at what --help promises and at
        # what a listener on 127.0.0.1 is bound to.
        self.assertIn("127.0.0.1:8101", daemon.run("--help")[1])
        server = self.start(store=None)
        with open("/proc/net/tcp", encoding="utf-8") as table:
            local = [line.split()[1] for line in table if line.split()[3] == "0A"]
        port = f":{server.port:04X}"
        self.assertEqual([a for a in local if a.endswith(port)], ["0100007F" + port])

    def test_it_prints_two_curl_lines_that_work(self):
        server = daemon.Daemon(wait=False)
        self.addCleanup(server.__exit__)
        out = b""
        while out.count(b"curl ") < 2 or not out.endswith(b"\n"):
            some = os.read(server.process.stdout.fileno(), 4096)
            self.assertTrue(some, server.log())
            out += some
        poll, publish = [line.strip() for line in out.decode().splitlines() if "curl " in line]
        with subprocess.Popen(["sh", "-c", poll.replace("curl ", "curl -s ", 1)],
                              stdout=subprocess.PIPE) as waiting:
            # Publishing goes on until the poll has it: nothing tells from outside when it waits.
            while waiting.poll() is None:
                done = subprocess.run(["sh", "-c", publish.replace("curl ", "curl -s ", 1)],
                                      capture_output=True, text=True)
                self.assertEqual(done.stdout, '{"success": true}')
            self.assertIn(b'"data":"world"', waiting.stdout.read())

    def test_publishing_can_have_a_listener_of_its_own(self):
        server = self.start("--publish-listen", "127.0.0.1:0")
        body = '{"category":"c","data":1}'
        self.assertNotEqual(server.port, server.publish_port)
        self.assertEqual(server.request("POST", "/publish", body)[0], 404)
        public, server.port = server.port, server.publish_port
        self.assertEqual(server.request("POST", "/publish", body), (200, b'{"success": true}'))
        self.assertEqual(server.request("GET", "/events?timeout=1&category=c")[0], 404)
        server.port = public
        self.assertIn("events", server.poll("c", since_time=1))

    def test_pages_of_strangers_cannot_publish(self):
        server = self.start()
        body = '{"category":"c","data":1}'
        for origin, status in [("http://evil.example", 403), ("null", 403),
                               (f"http://127.0.0.1:{server.port}", 200), (None, 200)]:
            headers = {"Origin": origin} if origin else {}
            with self.subTest(origin):
                self.assertEqual(server.request("POST", "/publish", body, headers)[0], status)


class Flags(daemon.TestCase):
    """Those whose effect can be seen from outside."""

    def test_what_a_client_is_answered_follows_them(self):
        server = self.start("--strict-status", "--cors-origin", "https://a.example",
                            "--cors-origin", "https://b.example", "--publish-rate", "1",
                            "--publish-burst", "2", "--max-poll-categories", "2", store=None)
        self.assertEqual(server.request("GET", "/events?timeout=1")[0], 400)
        self.assertEqual(
            server.request("GET", "/events?timeout=1&category=a&category=b&category=c")[0], 400)
        for origin in "https://a.example", "https://b.example":
            connection = server.connection()
            connection.request("GET", "/events?timeout=1", headers={"Origin": origin})
            response = connection.getresponse()
            response.read()
            self.assertEqual(response.getheader("Access-Control-Allow-Origin"), origin)
            connection.close()
        self.assertEqual([server.publish("c", i)[0] for i in range(3)], [200, 200, 429])

    def test_metrics_are_on_the_listener_of_events_alone(self):
        server = self.start("--publish-listen", "127.0.0.1:0", store=None)
        self.assertIn(b"longpoll_", server.request("GET", "/metrics")[1])
        server.port = server.publish_port
        self.assertEqual(server.request("GET", "/metrics")[0], 404)


if __name__ == "__main__":
    daemon.main()
