"""The truth table of the gap signal (promise 4): each way in which history is lost, by each habit of
keeping a cursor, for one store or none. A client must be told where events behind its cursor are gone,
and must be told nothing where it misses nothing; then it gets all there is, in order.

  gap_table.py --daemon PATH --kind memory|journal|sqlite|lmdb     prints the table, too
"""
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.parse

import daemon

WATCHED = "room/loud"  # what clients ask for, in each of their ways
QUIET = "room/quiet"   # what those of several categories ask for as well
HABITS = ("go", "js", "curl", "id", "position", "many", "prefix", "stream")
table = []


def query_of(habit, cursor):
    """The query string of a poll, and its headers."""
    since = [("since_time", cursor["since_time"])] if "since_time" in cursor else []
    last = [("last_id", cursor["last_id"])] if "last_id" in cursor else []
    category = [("category", WATCHED)]
    headers = {}
    if habit in ("go", "js"):
        pairs = category + since + last
    elif habit == "curl":
        pairs = category + since
    elif habit in ("id", "position"):
        pairs = category + [("resume", "id")] + last
    elif habit == "many":
        pairs = category + [("category", QUIET), ("resume", "id")] + last
    elif habit == "prefix":
        pairs = [("prefix", "room/"), ("resume", "id")] + last
    else:
        pairs = category
        headers = {"Accept": "text/event-stream", "Last-Event-ID": cursor["last_id"]}
    return "/events?" + urllib.parse.urlencode(pairs + [("timeout", 1)]), headers


def read_stream(text):
    """What a stream of server-sent events said: (a gap was told, the events)."""
    gap, events = False, []
    for block in text.split("\n\n"):
        fields = [line.partition(": ") for line in block.split("\n") if line]
        if ("event", ": ", "gap") in fields:
            gap = True
            continue
        data = "\n".join(value for name, _, value in fields if name == "data")
        if data:
            events.append(json.loads(data))
    return gap, events


def ask(server, habit, cursor):
    """One poll, or one stream to its end: (a gap was told, the data of the events)."""
    path, headers = query_of(habit, cursor)
    status, body = server.request("GET", path, headers=headers)
    if status != 200:
        raise daemon.Failed(f"{habit}: {status} {body!r}")
    if habit == "stream":
        gap, events = read_stream(body.decode())
    else:
        answer = json.loads(body)
        if "error" in answer:
            raise daemon.Failed(f"{habit}: {path}: {answer}")
        gap, events = answer.get("gap", False), answer.get("events", [])
    return gap, [event["data"] for event in events if event["category"] == WATCHED]


def ask_all(server, cursors):
    """What each habit is told, all asking at once."""
    told = {}

    def one(habit):
        told[habit] = ask(server, habit, cursors[habit])

    threads = [threading.Thread(target=one, args=(habit,)) for habit in HABITS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


class Table(daemon.TestCase):
    def setUp(self):
        super().setUp()
        if daemon.kind == "memory":
            self.store = "memory"

    def publish(self, server, *data, category=WATCHED):
        for one in data:
            status, body = server.publish(category, one)
            self.assertEqual(status, 200, body)
            time.sleep(0.003)  # a millisecond of its own: since_time alone names no more

    def cursors(self, server):
        """The cursor of each habit, of a client that has seen all there is."""
        events = server.poll(WATCHED, since_time=1)["events"]
        last = {"since_time": events[-1]["timestamp"], "last_id": events[-1]["id"]}
        path = "/events?" + urllib.parse.urlencode(
            [("category", WATCHED), ("timeout", 1), ("resume", "id"), ("last_id", last["last_id"])])
        timeout = json.loads(server.request("GET", path)[1])
        self.assertIn("timeout", timeout)
        self.assertNotIn("gap", timeout)
        cursors = {habit: last for habit in HABITS}
        cursors["go"] = {"since_time": timeout["timestamp"], "last_id": last["last_id"]}
        cursors["position"] = {"last_id": timeout["last_id"]}
        return cursors

    def assert_table(self, way, server, cursors, gap, data):
        """Each habit is told of a gap, or of none, and gets these events."""
        told = ask_all(server, cursors)
        table.append((way, {habit: told[habit][0] for habit in HABITS}))
        for habit in HABITS:
            with self.subTest(way=way, habit=habit):
                self.assertEqual(told[habit], (gap, data))

    def restart(self, server, end=signal.SIGTERM, *flags, **options):
        server.signal(end)
        server.wait()
        return self.start(*flags, **options)

    # ---- bounds ------------------------------------------------------------

    def test_ring(self):
        server = self.start("--event-buffer", "3")
        self.publish(server, "seen")
        cursors = self.cursors(server)
        self.publish(server, 1, 2, 3)
        self.assert_table("ring: nothing of it lost", server, cursors, False, [1, 2, 3])
        self.publish(server, 4)
        self.assert_table("ring", server, cursors, True, [2, 3, 4])
        self.assert_table("ring: had seen what went", server, self.cursors(server), False, [])

    def test_time_to_live(self):
        server = self.start("--event-ttl", "3")
        self.publish(server, "seen")
        cursors = self.cursors(server)
        time.sleep(2.5)
        self.assert_table("TTL: had seen what went", server, cursors, False, [])
        self.publish(server, "unseen")
        time.sleep(3.5)
        self.assert_table("TTL", server, cursors, True, [])

    def test_total_bound(self):
        server = self.start("--max-events", "4")
        self.publish(server, "seen")
        cursors = self.cursors(server)
        self.publish(server, 1, 2, 3)
        self.assert_table("total bound: nothing of it lost", server, cursors, False, [1, 2, 3])
        self.publish(server, "a", "b", category="elsewhere")
        self.assert_table("total bound", server, cursors, True, [2, 3])

    def test_forgotten_category(self):
        server = self.start("--max-categories", "4")
        self.publish(server, "seen")
        cursors = self.cursors(server)
        self.publish(server, "unseen")
        for n in range(5):
            self.publish(server, n, category=f"elsewhere/{n}")
        self.assert_table("forgotten category", server, cursors, True, [])
        self.publish(server, "new")
        self.assert_table("forgotten category: joined later", server, self.cursors(server), False,
                          [])

    # ---- ends --------------------------------------------------------------

    def test_clean_restart(self):
        self.restart_keeps("clean restart", signal.SIGTERM)

    def test_kill(self):
        self.restart_keeps("kill -9", signal.SIGKILL)

    def restart_keeps(self, way, end):
        """With a store nothing is lost; without one everything may be."""
        server = self.start()
        self.publish(server, "seen")
        cursors = self.cursors(server)
        self.publish(server, "unseen")
        server = self.restart(server, end)
        stored = daemon.kind != "memory"
        self.assert_table(way, server, cursors, not stored, ["unseen"] if stored else [])
        self.publish(server, "later")
        self.assert_table(f"{way}: joined later", server, self.cursors(server), False, [])

    # ---- stores ------------------------------------------------------------

    def need_store(self):
        if daemon.kind == "memory":
            self.skipTest("there is no store to lose anything")

    def on_another_boot(self, number):
        """The command under which longpolld finds itself on a boot of that number."""
        path = os.path.join(self.directory, f"boot-{number}")
        with open(path, "w", encoding="ascii") as file:
            file.write(f"00000000-0000-4000-8000-{number:012}\n")
        return ["unshare", "-m", "sh", "-c",
                'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"', path]

    def power_cut(self, sync):
        """kill -9 on one boot, and a start on the next: what was not on disk is gone, as far as the
        store can know."""
        self.need_store()
        if subprocess.run([*self.on_another_boot(1), "true"], capture_output=True).returncode:
            self.skipTest("another boot takes root, and a mount namespace")
        store = daemon.store_at(self.store_path, sync=sync)
        server = self.start(store=store, prefix=self.on_another_boot(1))
        self.publish(server, "seen")
        cursors = self.cursors(server)
        self.publish(server, "unseen")
        server.kill()
        server = self.start(store=store, prefix=self.on_another_boot(2))
        return server, cursors

    def test_power_cut_at_interval(self):
        server, cursors = self.power_cut("interval:1h")
        self.assert_table("power cut at interval", server, cursors, True, ["unseen"])
        self.publish(server, "later")
        self.assert_table("power cut at interval: joined later", server, self.cursors(server), False,
                          [])

    def test_power_cut_at_always(self):
        server, cursors = self.power_cut("always")
        self.assert_table("power cut at always", server, cursors, False, ["unseen"])

    def files(self):
        for folder, _, names in os.walk(os.path.dirname(self.store_path)):
            for name in names:
                yield os.path.join(folder, name)

    def test_damaged_record(self):
        self.need_store()
        server = self.start()
        self.publish(server, "seen")
        cursors = self.cursors(server)
        self.publish(server, "damaged here", "unseen")
        server.signal(signal.SIGTERM)
        server.wait()
        hit = 0
        for path in self.files():
            with open(path, "r+b") as file:
                text = file.read()
                for found in re.finditer(b"damaged here", text):
                    file.seek(found.start())
                    file.write(b"DAMAGED")
                    hit += 1
        self.assertGreater(hit, 0, "the record was not found")
        server = self.start()
        self.assert_table("damaged record", server, cursors, True, ["unseen"])
        self.publish(server, "later")
        self.assert_table("damaged record: joined later", server, self.cursors(server), False, [])

    def test_restored_backup(self):
        self.need_store()
        server = self.start()
        self.publish(server, "seen")
        before = self.cursors(server)
        server.signal(signal.SIGTERM)
        server.wait()
        kept, backup = os.path.dirname(self.store_path), os.path.join(self.directory, "backup")
        shutil.copytree(kept, backup)
        server = self.start()
        self.publish(server, "after the backup")
        after = self.cursors(server)
        server.signal(signal.SIGTERM)
        server.wait()
        shutil.rmtree(kept)
        shutil.copytree(backup, kept)
        server = self.start()
        self.publish(server, "since")
        self.assert_table("restored backup: cursor of before it", server, before, False, ["since"])
        # since_time alone names no event that could be missed, only a time
        told = ask_all(server, after)
        table.append(("restored backup", {habit: told[habit][0] for habit in HABITS}))
        for habit in HABITS:
            with self.subTest(habit=habit):
                self.assertEqual(told[habit], (habit != "curl", ["since"]))


def print_table():
    print(f"\n| {daemon.kind} | " + " | ".join(HABITS) + " |")
    print("| --- |" + " --- |" * len(HABITS))
    for way, told in table:
        cells = ["gap" if told[habit] else "." for habit in HABITS]
        print(f"| {way} | " + " | ".join(cells) + " |")
    print(flush=True)


if __name__ == "__main__":
    try:
        daemon.main()
    finally:
        print_table()
