"""README.md here names, for each promise, the tests that hold it: this checks that each of them is
in the file that is named, that this file is built or run, and that no promise is without a test.

  table.py ROOT    the folder of the project"""
import os
import re
import sys

ROW = re.compile(r"\| (\d+)\b[^|]*\| \[[^]]*\]\(([^)]+)\) \| ((?:`\w+` ?)+)\|")


def is_registered(path):
    """Whether the CMakeLists.txt of the folder, or what it includes, names the file."""
    stem, suffix = os.path.splitext(os.path.basename(path))
    if suffix == ".txt":
        return True
    for name in os.listdir(os.path.dirname(path)):
        if name == "CMakeLists.txt" or name.endswith(".cmake"):
            with open(os.path.join(os.path.dirname(path), name), encoding="utf-8") as file:
                if re.search(rf"(?<!\w){stem}(?!\w)", file.read()):
                    return True
    return False


def what_is_wrong(root):
    folder = os.path.join(root, "tests", "promises")
    with open(os.path.join(root, "README.md"), encoding="utf-8") as file:
        promises = file.read().split("\n## The promises\n")[1].split("\n## ")[0]
    numbers = {int(number) for number in re.findall(r"^(\d+)\. ", promises, re.M)}
    if numbers != set(range(1, 14)):
        yield f"README.md has the promises {sorted(numbers)}, not 1 to 13"
    with open(os.path.join(folder, "README.md"), encoding="utf-8") as file:
        rows = [line for line in file.read().split("\n") if re.match(r"\| +\d", line)]
    held = set()
    for row in rows:
        match = ROW.fullmatch(row)
        if match is None:
            yield f"not \"| number | [name](file) | `test` ... |\": {row}"
            continue
        number, path, tests = int(match[1]), match[2], re.findall(r"`(\w+)`", match[3])
        held.add(number)
        if number not in numbers:
            yield f"there is no promise {number}"
        try:
            with open(os.path.join(folder, path), encoding="utf-8") as file:
                text = file.read()
        except OSError as error:
            yield f"promise {number}: {path}: {error.strerror}"
            continue
        for test in tests:
            if not re.search(rf"(?<!\w){test}(?!\w)", text):
                yield f"promise {number}: {path} has no test {test}"
        if not is_registered(os.path.join(folder, path)):
            yield f"promise {number}: {path} is not named by the CMakeLists.txt beside it"
    for number in sorted(numbers - held):
        yield f"promise {number} has no test"


def main():
    wrongs = list(what_is_wrong(sys.argv[1]))
    print("\n".join(wrongs) or "every promise has its tests")
    sys.exit(1 if wrongs else 0)


if __name__ == "__main__":
    main()
