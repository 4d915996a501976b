"""Compiles or runs every code block of README.md.

  readme_test.py --readme README.md --daemon PATH    the test
  readme_test.py --readme README.md --update         copies the examples into README.md anew

A ```c block shows a file, which the comment above it names: <!-- examples/server.c -->. It must be
that file to the byte, or what the file has between "README begin" and "README end"; and the file is
built by the lines of the ```cmake block, in a project of its own.
A ```console block is a shell session: lines that begin with "$ " are run by bash, and what is below
them must come out; "…" stands for anything. Blocks of another kind are not allowed.
"""
import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

DEADLINE_S = 60
BLOCK = re.compile(r"(?:^<!-- (?P<file>[\w./]+) -->\n+)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$",
                   re.MULTILINE | re.DOTALL)
EXCERPT = re.compile(r"^/\* README begin.*?\*/\n(.*?)^/\* README end \*/$",
                     re.MULTILINE | re.DOTALL)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def shown(path):
    """What README.md is to show of a file."""
    text = read(path)
    excerpt = EXCERPT.search(text)
    return excerpt[1] if excerpt else text


def blocks(kind):
    return [block for block in BLOCK.finditer(read(arguments.readme)) if block["kind"] == kind]


class Readme(unittest.TestCase):
    def setUp(self):
        self.root = os.path.dirname(os.path.abspath(arguments.readme))
        self.directory = tempfile.mkdtemp(prefix="longpoll-readme-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def test_every_block_is_of_a_kind_that_is_tested(self):
        kinds = {block["kind"] for block in BLOCK.finditer(read(arguments.readme))}
        self.assertEqual(kinds, {"c", "cmake", "console"})
        self.assertEqual(len(list(BLOCK.finditer(read(arguments.readme)))) * 2,
                         len(re.findall("^```", read(arguments.readme), re.MULTILINE)))

    def test_links_lead_somewhere(self):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", read(arguments.readme)):
            self.assertTrue(os.path.exists(os.path.join(self.root, target)), target)

    def test_the_examples_shown_are_the_examples_built(self):
        for block in blocks("c"):
            self.assertTrue(block["file"], "a c block without the name of its file")
            self.assertEqual(block["text"], shown(os.path.join(self.root, block["file"])),
                             f"{block['file']} has changed (run tests/docs/readme_test.py "
                             "--readme README.md --update)")

    def test_the_examples_build_as_a_project_of_their_own(self):
        (lines,) = blocks("cmake")
        os.symlink(self.root, os.path.join(self.directory, "longpoll"))
        for block in blocks("c"):
            shutil.copy(os.path.join(self.root, block["file"]), self.directory)
        with open(os.path.join(self.directory, "CMakeLists.txt"), "w", encoding="utf-8") as file:
            file.write("cmake_minimum_required(VERSION 3.25)\nproject(readme LANGUAGES C)\n")
            file.write(lines["text"])
        build = os.path.join(self.directory, "build")
        for command in (["cmake", "-S", self.directory, "-B", build, "-G", "Ninja"],
                        ["cmake", "--build", build]):
            done = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Session(unittest.TestCase):
    """One bash with job control; tools/quickstart is longpolld on a free port and a new store."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="longpoll-readme-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        os.mkdir(os.path.join(self.directory, "tools"))
        quickstart = os.path.join(self.directory, "tools", "quickstart")
        with open(quickstart, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\n"
                       f"exec '{os.path.abspath(arguments.daemon)}' --store journal:data "
                       f"--listen 127.0.0.1:{self.port} \"$@\" >>log 2>&1\n")
        os.chmod(quickstart, 0o755)
        self.shell = subprocess.Popen(["bash", "--norc", "-m"], cwd=self.directory, text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL)
        self.addCleanup(self.end_shell)

    def end_shell(self):
        self.shell.stdin.write("kill -9 $(jobs -p); wait; exit\n")
        self.shell.stdin.close()
        self.shell.wait(DEADLINE_S)
        self.shell.stdout.close()

    def run_line(self, line):
        """What a command line prints."""
        self.shell.stdin.write(f"{line}\necho; echo __END__\n")
        self.shell.stdin.flush()
        out = ""
        while not out.endswith("__END__\n"):
            some = self.shell.stdout.readline()
            self.assertNotEqual(some, "", "bash has ended")
            out += some
        return out[:-len("__END__\n")].strip("\n")

    def wait_until(self, serving):
        end = time.monotonic() + DEADLINE_S
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health").close()
                answer = True
            except urllib.error.HTTPError:
                answer = None
            except OSError:
                answer = False
            if answer is serving:
                return
            self.assertLess(time.monotonic(), end, "the server did not start or end")

    def run_block(self, text):
        steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)
        self.assertEqual(text, "".join(f"$ {line}\n{expected}" for line, expected in steps))
        seen = {}
        for line, expected in steps:
            out = self.run_line(line.replace("8101", str(self.port)))
            pattern = re.escape(expected.strip("\n")).replace("…", ".+?")
            self.assertRegex(out, re.compile(rf"\A{pattern}\Z", re.DOTALL), line)
            # The same command with the same answer: to the byte, whatever happened in between.
            self.assertEqual(seen.setdefault((line, expected), out), out)
            if line.endswith("&"):
                self.wait_until(serving=True)
            elif line.startswith("kill"):
                self.wait_until(serving=False)

    def test_the_sessions_go_as_shown(self):
        for block in blocks("console"):
            with self.subTest(block["text"].split("\n")[0]):
                self.run_block(block["text"])


def update():
    """Copies the examples into README.md."""
    text = read(arguments.readme)
    root = os.path.dirname(os.path.abspath(arguments.readme))

    def fresh(block):
        if block["kind"] != "c" or not block["file"]:
            return block[0]
        return f"<!-- {block['file']} -->\n```c\n{shown(os.path.join(root, block['file']))}```"

    with open(arguments.readme, "w", encoding="utf-8") as file:
        file.write(BLOCK.sub(fresh, text))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readme", required=True)
    parser.add_argument("--daemon")
    parser.add_argument("--update", action="store_true")
    arguments, rest = parser.parse_known_args()
    if arguments.update:
        update()
    else:
        unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
