"""Installs the build directory into a prefix and moves that elsewhere: all other tests work with what
lies where it was not installed to."""
import os
import shutil
import sys

from package import arguments, prefix, run

first = os.path.join(arguments.scratch, "first")
for directory in (first, prefix):
    shutil.rmtree(directory, ignore_errors=True)
status, said = run("cmake", "--install", arguments.build, "--prefix", first)
if status != 0:
    sys.exit(said)
os.rename(first, prefix)
