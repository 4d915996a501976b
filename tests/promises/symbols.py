"""The libraries hold no variables and call nothing that prints or ends the process (promise 13).

  symbols.py --nm NM LIBRARY.a..."""
import argparse
import re
import subprocess
import sys

FORBIDDEN = re.compile(
    r"(abort|_?_?exit|_Exit|quick_exit|raise|v?printf|puts|putchar|perror|psignal|v?syslog|"
    r"warnx?|errx?|error|stdout|stderr|signal|__v?f?printf_chk|setlocale|srand|rand|strtok)$")
# Constants that hold addresses are in .data.rel.ro: read-only once the program is loaded.
VARIABLES = re.compile(r"(\.data(?!\.rel\.ro)|\.bss|\.tdata|\.tbss|\*COM\*)")


def wrongs(line):
    """What is wrong with a line of nm: name, value, class, type, size, line, section."""
    fields = [field.strip() for field in line.split("|")]
    if len(fields) != 7:
        return None
    name, _, kind, what, _, _, section = fields
    if kind == "U" and FORBIDDEN.match(name.split("@")[0]):
        return f"{name} is used"
    if what in ("OBJECT", "TLS", "COMMON") and VARIABLES.match(section) or kind == "C":
        return f"{name} is a variable"
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--nm", default="nm")
    parser.add_argument("libraries", nargs="+")
    arguments = parser.parse_args()
    wrong = 0
    for library in arguments.libraries:
        done = subprocess.run([arguments.nm, "--format=sysv", library], capture_output=True,
                              text=True, check=True)
        lines = done.stdout.split("\n")
        if sum("|FUNC|" in line.replace(" ", "") for line in lines) < 10:
            sys.exit(f"{library}: holds no functions that nm can see")
        for why in filter(None, map(wrongs, lines)):
            print(f"{library}: {why}")
            wrong += 1
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
