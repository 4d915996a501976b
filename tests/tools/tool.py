"""Runs the command line `longpoll` for the tests in this folder, and makes what it reads.

A test program calls main(), which takes --tool PATH and hands the rest to unittest.
"""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

DEADLINE_S = 60
DONE, FAILED, USAGE, DAMAGE = 0, 1, 2, 3

longpoll = None  # the path of the program under test, set by main()


def start(*words, **options):
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen([longpoll, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            **options)


def run(*words, stdin=b""):
    """Runs it to its end: (exit status, stdout, stderr), the first as bytes."""
    done = subprocess.run([longpoll, *words], input=stdin, capture_output=True, timeout=DEADLINE_S)
    return done.returncode, done.stdout, done.stderr.decode()


def kinds():
    """The stores that are built in, but for memory."""
    return run("--version")[1].decode().split("stores:")[1].split()[1:]


# ---- events ----------------------------------------------------------------

def seq_of(ms, counter=0):
    return ms << 15 | counter


def now_seq(offset_ms=0):
    return seq_of(int(time.time() * 1000) + offset_ms)


def id_of(seq, rng=random.Random(1)):
    """A UUIDv7 as longpoll/event.h says: 48 bits of milliseconds, 15 of counter."""
    ms, counter = seq >> 15, seq & 0x7FFF
    high = ms << 16 | 7 << 12 | counter >> 3
    low = 2 << 62 | (counter & 7) << 59 | rng.getrandbits(59)
    digits = f"{high:016x}{low:016x}"
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])


def event_line(seq, category, data):
    """As the program writes it. `data` is JSON text and stays as it is."""
    name = json.dumps(category, ensure_ascii=False)
    return (f'{{"timestamp":{seq >> 15},"category":{name},"data":{data},"id":"{id_of(seq)}"}}\n'
            ).encode()


ODD_DATA = [
    "null", "0", "-0.0", "12345678901234567890123456789012", "1E400", '""', '"\\ud800\\u0000"',
    '{"b":1,"a":2,"b":3}', "[ 1 ,\t2 ]", '{"longpoll":"horizon"}', '"newlines"',
    '"' + "x" * 70000 + '"', '"' + "\u00e9\U0001f600\u2028" * 100 + '"']
ODD_CATEGORIES = ["c", "C", "a'b", "../x", "%00", 'q"\\', "\u00e9" * 512, "x" * 1023 + "a",
                  "x" * 1023 + "b", " "]


def events(count, begin_ms=1_700_000_000_000, rng=None):
    """Lines of `count` events, in order, with all that is odd among them."""
    rng = rng or random.Random(count)
    seq, lines = seq_of(begin_ms), []
    for i in range(count):
        seq += rng.choice([1, 1, 7, 1 << 15, 1 << 21])
        lines.append(event_line(seq, ODD_CATEGORIES[i % len(ODD_CATEGORIES)],
                                ODD_DATA[i] if i < len(ODD_DATA) else f'{{"n":{i}}}'))
    return lines


def full_dump(count=40):
    """What `dump --all` writes of a store that has everything."""
    lines = events(count)
    last = int(json.loads(lines[-1])["timestamp"])
    head = [{"longpoll": "dump", "version": 1},
            {"longpoll": "floor", "seq": str(seq_of(1_600_000_000_000))},
            {"longpoll": "horizon", "category": "a gone one", "seq": str(seq_of(last + 1))},
            {"longpoll": "horizon", "category": "q\"\n\u00e9", "seq": str(seq_of(last))}]
    tail = [{"longpoll": "idempotency", "key_hex": key, "digest": str(2**64 - 1 - i),
             "seq": str(seq_of(last) + i), "count": i + 1, "expires_ms": 4_000_000_000_000 + i}
            for i, key in enumerate(["00ff", "6b6579", "ff" * 255])]
    tail += [{"longpoll": "highest", "seq": str(seq_of(last + 5))},
             {"longpoll": "end", "events": count}]

    def text(objects):
        lines = []
        for each in objects:
            line = json.dumps(each, ensure_ascii=False, separators=(",", ":"))
            lines.append(line.replace("\\n", "\\u000a").encode() + b"\n")
        return lines
    return b"".join(text(head) + lines + text(tail))


class TestCase(unittest.TestCase):
    """A test with a directory of its own, which is gone afterwards."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="longpoll-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.directory, name)

    def spec(self, kind, name="store"):
        return f"{kind}:{self.path(name)}"

    def write(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content)
        return self.path(name)

    def succeed(self, *words, stdin=b""):
        """Runs it: what it wrote to standard output."""
        status, out, err = run(*words, stdin=stdin)
        self.assertEqual((status, err), (DONE, ""), words)
        return out

    def fail_with(self, expected, *words, mentions=(), stdin=b""):
        """One line on standard error that names things, and nothing on standard output."""
        status, out, err = run(*words, stdin=stdin)
        self.assertEqual((status, out), (expected, b""), (words, err))
        self.assertRegex(err, r"\Alongpoll: [^\n]+\n\Z")
        for each in mentions:
            self.assertIn(each, err)
        return err

    def load(self, kind, content, name="store"):
        spec = self.spec(kind, name)
        self.succeed("store", "load", "-", spec, stdin=content)
        return spec

    def dump(self, spec, *flags):
        return self.succeed("store", "dump", spec, *flags)

    def json(self, *words):
        return json.loads(self.succeed(*words, "--json"))

    def assert_absent(self, *names):
        """Nothing of these names is there, nor what one of them is made as."""
        there = os.listdir(self.directory)
        for name in names:
            self.assertEqual([each for each in there if each.startswith(name)], [])

    def snapshot(self):
        """Every file of the directory, with its content."""
        found = {}
        for folder, _, names in os.walk(self.directory):
            for name in names:
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    found[os.path.relpath(path, self.directory)] = file.read()
        return found


def main():
    """unittest.main() for the programs of this folder."""
    global longpoll
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", required=True, help="the longpoll under test")
    arguments, rest = parser.parse_known_args()
    longpoll = os.path.abspath(arguments.tool)
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
