"""What the tests of the package share: their arguments, running commands, and looking into programs.

Every test has a directory of its own below --scratch, and reads <scratch>/prefix: what prefix.py has
installed."""
import argparse
import os
import re
import shutil
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
CONSUMER = os.path.join(HERE, "consumer")
LIBRARIES = {"core": "longpoll", "http": "longpoll-http",
             "http-evloop": "longpoll-http-evloop", "journal": "longpoll-journal",
             "sqlite": "longpoll-sqlite", "lmdb": "longpoll-lmdb",
             "conformance": "longpoll-conformance"}

parser = argparse.ArgumentParser()
parser.add_argument("--source", required=True, help="the root of the project")
parser.add_argument("--build", required=True, help="the build directory that is installed")
parser.add_argument("--scratch", required=True, help="a directory for all that is made")
parser.add_argument("--stores", required=True, help="those that are compiled in, by commas")
arguments, rest = parser.parse_known_args()
stores = arguments.stores.split(",")
prefix = os.path.join(arguments.scratch, "prefix")
built = [name for name in LIBRARIES if name not in ("sqlite", "lmdb") or name in stores]


def run(*command, env=None, cwd=None):
    """(exit status, all that was said) of a command."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, "LC_ALL": "C", **(env or {})}, cwd=cwd, check=False)
    return done.returncode, done.stdout


def libdir(root):
    """The directory of libraries in a prefix: there is one, whatever it is called."""
    for folder, _, names in os.walk(root):
        if "liblongpoll.so" in names:
            return folder
    sys.exit(f"{root}: no liblongpoll.so in it")


def dynamic(path, tag):
    """The entries of a tag ("NEEDED", "RUNPATH", "SONAME") of a program or library."""
    return re.findall(rf"\({tag}\).*\[(.*)\]", run("readelf", "-dW", path)[1])


def elf_files(root):
    for folder, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                with open(path, "rb") as file:
                    if file.read(4) == b"\x7fELF":
                        yield path


class PackageTest(unittest.TestCase):
    def setUp(self):
        self.directory = os.path.join(arguments.scratch, type(self).__name__, self._testMethodName)
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory)

    def good(self, *command, **more):
        status, said = run(*command, **more)
        self.assertEqual(status, 0, f"{' '.join(command)}\n{said}")
        return said

    def bad(self, *command, **more):
        status, said = run(*command, **more)
        self.assertNotEqual(status, 0, f"{' '.join(command)}: it succeeded\n{said}")
        # CMake breaks the lines of its messages.
        return " ".join(said.split())

    def configure(self, source, *options, name="build"):
        return ["cmake", "-S", source, "-B", os.path.join(self.directory, name), "-G", "Ninja", *options]

    def publishes_and_finds(self, program, store):
        """The program keeps an event in its store, and a second run of it finds the event."""
        path = os.path.join(self.directory, "store-" + os.path.basename(program))
        said = self.good(program, "publish", path)
        self.assertEqual(said.split("\n")[0], store)
        self.assertEqual(self.good(program, "read", path), f'{store}\n{{"kept":true}}\n')


def main():
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
