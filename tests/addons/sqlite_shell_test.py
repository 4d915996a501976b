"""Runs the queries of addons/sqlite/FORMAT.md with the sqlite3 shell on a store.

    sqlite_shell_test.py SQLITE_STORE_WRITER FORMAT.md
"""
import os
import re
import subprocess
import sys
import tempfile


def main():
    writer, document = sys.argv[1:]
    with open(document, encoding="utf-8") as file:
        queries = re.findall(r"```sql\n(.*?)```", file.read(), re.S)
    assert len(queries) == 3, queries
    with tempfile.TemporaryDirectory() as directory:
        store = os.path.join(directory, "store.db")
        ids = subprocess.run([writer, store], check=True, capture_output=True,
                             text=True).stdout.split()
        answers = []
        for query in queries:
            run = subprocess.run(["sqlite3", "-batch", "-list", store, query],
                                 capture_output=True, text=True)
            assert run.returncode == 0 and not run.stderr, (query, run.stderr)
            answers.append([line.split("|") for line in run.stdout.splitlines()])
    newest, categories, fields = answers
    assert [row[0] for row in newest] == ids[::-1][:10], (newest, ids)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", row[1]) for row in newest)
    assert {row[0]: row[1] for row in categories} == {"even": "10", "odd": "10"}, categories
    assert [row[2] for row in fields] == [str(n) for n in range(20)], fields
    print("3 queries of FORMAT.md were run")


main()
