#!/usr/bin/env python3
"""tools/bench-peers, in short and without the peers: writes a report with every section, charts
that are well-formed, and values from which the same report is written again.

  benchmarks_test.py --program tools/bench-peers --build DIR"""
import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

FIRST_PORT = "23060"


def run(given, *words, status=0):
    command = [sys.executable, given.program, "--build", given.build, *words]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == status, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
    return done


def text_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def report_has_every_section(given, output):
    sys.path.insert(0, os.path.join(os.path.dirname(given.program), "peers"))
    sys.dont_write_bytecode = True
    from plan import STEPS
    from targets import GROUPS

    report = text_of(output)
    for step in STEPS:
        assert f"\n## {step.title}\n" in report, step.title
    for title in ["What was to be reached", "The machine and the programs", "To repeat it"]:
        assert f"\n## {title}\n" in report, title
    for group in GROUPS:
        assert f"\n| {group.title} |" in report, group.title
    wrong = [line for line in report.splitlines() if line.startswith("- round ")]
    assert not wrong, wrong
    for left_out in ["| nchan |", "| golongpoll |"]:
        assert left_out not in report, left_out


def charts_are_well_formed_and_shown(output):
    report = text_of(output)
    charts = glob.glob(os.path.join(os.path.dirname(output), "*.svg"))
    assert len(charts) >= 8, charts
    for chart in charts:
        assert xml.parse(chart).getroot().tag.endswith("svg"), chart
        assert f"]({os.path.basename(chart)})" in report, chart


def values_are_those_of_each_round(output):
    rows = [json.loads(line) for line in text_of(output.replace(".md", ".jsonl")).splitlines()]
    assert rows[0]["machine"] and rows[0]["how"]["quick"], rows[0]
    published = [
        row
        for row in rows[1:]
        if row["step"] == "publish" and row["server"] == "longpolld" and row["figure"] == "rate"
    ]
    assert len(published) == 1 and published[0]["values"]["0"] > 0, published


def report_is_written_again_and_keeps_what_was_noted(given, output):
    noted = "Nothing was noted about this run."
    first = text_of(output)
    assert noted in first
    with open(output, "w", encoding="utf-8") as file:
        file.write(first.replace(noted, "The cat sat on it."))
    run(given, "--report-only", "--output", output)
    assert text_of(output) == first.replace(noted, "The cat sat on it.")


def wrong_words_get_one_line(given, folder):
    for words, said, status in [
        (["--without", "redis"], '--without "redis"', 2),
        (["--rounds", "0"], "--rounds", 2),
        (["--only", "publish"], "--golongpoll", 2),
        (["--only", "publish", "--golongpoll", "no/such"], "no/such", 2),
        (["--report-only", "--output", os.path.join(folder, "none.md")], "none.jsonl", 1),
    ]:
        last = run(given, *words, status=status).stderr.strip().splitlines()[-1]
        assert said in last, last


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--build", required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "benchmarks.md")
        wrong_words_get_one_line(given, folder)
        run(
            given,
            "--quick",
            "--without",
            "nchan,golongpoll",
            "--ports",
            FIRST_PORT,
            "--output",
            output,
        )
        report_has_every_section(given, output)
        charts_are_well_formed_and_shown(output)
        values_are_those_of_each_round(output)
        report_is_written_again_and_keeps_what_was_noted(given, output)
    print("benchmarks_test: ok")


if __name__ == "__main__":
    main()
