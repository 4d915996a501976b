"""docs/benchmarks.md and its charts, from the data of a run."""
import os

from chart_list import write_charts
from plan import STEPS, TOLD
from targets import GROUPS
from text import number, ranged, table, told_beside

KEPT_BEGIN, KEPT_END = "<!-- kept: what stands here is written by hand -->", "<!-- end of kept -->"
KEPT_EMPTY = "Nothing was noted about this run."


# ---- targets ----------------------------------------------------------------


def bound_text(target):
    if target.bound is None:
        return target.relation
    return f"{target.relation} {number(target.bound)} {target.unit}".rstrip()


def target_rows(data):
    """A row for each target, with the group that it belongs to; and how many are met."""
    rows, met, missed, unknown = [], 0, 0, 0
    for group in GROUPS:
        title = group.title
        for target in group.targets:
            found = target.measure(data)
            if not found:
                verdict, told = "not measured", ""
                unknown += 1
            else:
                is_met = target.is_met(data, found)
                verdict = "met" if is_met else "**missed**"
                told = "yes" if is_met else "no"
                if target.bound is not None:
                    told = told_beside(found, target.bound)
                met += is_met
                missed += not is_met
            rows.append([title, target.what, bound_text(target), told, verdict])
            title = ""
    return rows, (met, missed, unknown)


def targets_section(data):
    rows, (met, missed, unknown) = target_rows(data)
    yield "## What was to be reached"
    yield ""
    yield (
        "A ratio is the median, over the rounds, of the ratio within a round; in brackets are the "
        "lowest and the highest of them."
    )
    tally = f"Of {len(rows)} targets {met} are met and {missed} missed"
    yield tally + (f"; {unknown} were not measured." if unknown else ".")
    yield ""
    yield from table(["figure", "of", "target", "measured", ""], rows)
    yield ""


# ---- steps ------------------------------------------------------------------

# Figures as the heads of columns, in their order: those of a mode that has many, or long names.
HOLD = {
    "memory waiting": "memory, waiting",
    "memory waiting again": "woken once",
    "memory when they have left": "when all have left",
    "half woken": "half of them woken",
    "last woken": "last one woken",
    "server CPU": "server CPU",
    "leaving seen": "leaving seen after",
}
SHOWN = {
    "hold": HOLD,
    "hold-distinct": HOLD,
    "growth-waiters": HOLD,
    "growth-many": HOLD,
    "catch-up": {
        "rate": "rate",
        "throughput": "throughput",
        "server CPU": "server CPU",
        "server CPU of an event": "server CPU",
    },
}


def shown_figures(data, step, case):
    """Pairs of a figure and its name."""
    there = data.figures(step, case)
    shown = SHOWN.get(step)
    if shown:
        return [(figure, name) for figure, name in shown.items() if figure in there]
    return [(figure, figure) for figure in there]


def case_table(data, step, head, lines, figures):
    """A line of the table is a name, a case and a server."""
    units = {}
    for _, case, server in lines:
        for figure, _ in figures:
            summary = data.summary((step, case, server, figure))
            if summary:
                units[figure] = summary.unit
    figures = [(figure, name) for figure, name in figures if figure in units]
    rows = []
    for name, case, server in lines:
        cells = [data.summary((step, case, server, figure)) for figure, _ in figures]
        rows.append([name] + [ranged(cell) if cell else "" for cell in cells])
    yield from table([head] + [f"{name}, {units[figure]}" for figure, name in figures], rows)
    yield ""


def append_tables(data, step):
    """Of stores, those of cases "SYNC, batch N, STATE": a table for each level and state, with a
    column for each batch."""
    groups = {}
    for case in data.cases(step) if step == "store" else ():
        parts = case.split(", ")
        if len(parts) == 3:
            groups.setdefault((parts[0], parts[2]), []).append(case)
    for (sync, state), cases in groups.items():
        rows = []
        for server in data.servers(step, cases[0]):
            cells = [data.summary((step, case, server, "rate")) for case in cases]
            rows.append([server] + [ranged(cell) if cell else "" for cell in cells])
        heads = [case.split(", ")[1] for case in cases]
        yield from table([f"**{sync}, {state}**, events/s"] + heads, rows)
        yield ""


def step_tables(data, step):
    """A table for each case, or one with a line for each where one server was measured alone."""
    yield from append_tables(data, step)
    cases = [case for case in data.cases(step) if len(case.split(", ")) != 3 or step != "store"]
    alone = {server for case in cases for server in data.servers(step, case)}
    if len(alone) == 1 and len(cases) > 1:
        server = alone.pop()
        yield from case_table(
            data,
            step,
            server,
            [(case, case, server) for case in cases],
            shown_figures(data, step, cases[0]),
        )
        return
    for case in cases:
        lines = [(server, case, server) for server in data.servers(step, case)]
        yield from case_table(data, step, f"**{case}**", lines, shown_figures(data, step, case))


def wrong_lines(data, step):
    if step in data.wrong:
        yield "What was checked here and did not hold:"
        yield ""
        for sentence in data.wrong[step]:
            yield f"- {sentence}"
        yield ""


def step_section(data, step, charts):
    told = [step.told]
    if step.name in data.left_out:
        told = [f"Left out: {data.left_out[step.name]}."]
    elif not data.cases(step.name) and step.name not in data.wrong:
        return
    yield f"## {step.title}"
    yield ""
    yield from told
    yield ""
    for file, title in charts:
        yield f"![{title}]({file})"
        yield ""
    yield from step_tables(data, step.name)
    yield from wrong_lines(data, step.name)


# ---- the whole --------------------------------------------------------------


def kept_text(path):
    """What somebody has written into an earlier report, between its two marks."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if KEPT_BEGIN in text and KEPT_END in text:
            return text.split(KEPT_BEGIN)[1].split(KEPT_END)[0].strip()
    return KEPT_EMPTY


def introduction(data, how):
    yield "# Benchmarks"
    yield ""
    yield (
        "longpolld beside nchan, golongpoll, and the limits of the machine and of the libraries "
        "below: the same load generator, the same machine, server after server in each round, "
        f"up to {data.rounds()} rounds. Written by `tools/bench-peers`; `benchmarks.jsonl` has each "
        "round's values."
    )
    yield ""
    if how["quick"]:
        yield ("**This is a short run, to see that everything works. Its figures say nothing.**")
        yield ""
    if how.get("note"):
        yield f"**{how['note']}**"
        yield ""
    yield (
        "The server and the load generator share the machine's processors, so a rate is that of "
        "both together; processor time and memory are the server's own, from /proc. Figures of "
        "different machines or runs cannot be compared, ratios can."
    )
    yield ""


def machine_section(machine):
    yield "## The machine and the programs"
    yield ""
    yield from table(["", ""], [[name, told] for name, told in machine])
    yield ""


def names_section(data):
    seen = {key[2] for key in data.rows}
    yield "| name | what it is |"
    yield "| --- | --- |"
    for name, told in TOLD.items():
        if name in seen:
            yield f"| {name} | {told} |"
    yield ""


def repeat_section(data, how):
    yield "## To repeat it"
    yield ""
    yield "```"
    yield "tools/build"
    yield how["command"]
    yield "```"
    yield ""
    yield "Each round of each part runs this, with servers that are started anew:"
    yield ""
    yield "```"
    for step in STEPS:
        if step.name in data.steps():
            servers = " --server …" if step.servers else ""
            for words in step.commands(how["quick"]):
                line = " ".join(words).replace("SCRATCH", ".")
                yield f"longpoll bench {line}{servers}  # {step.name}"
    yield "```"
    yield ""
    yield (
        "`tools/bench-peers --help` tells what it installs and how to build a server with golongpoll, "
        "`longpoll bench --help` what else there is to measure."
    )


def write_report(data, path):
    machine, how = data.about["machine"], data.about["how"]
    folder = os.path.dirname(path) or "."
    kept = kept_text(path)
    shown = write_charts(data, folder)
    lines = list(introduction(data, how))
    lines += targets_section(data)
    lines += [KEPT_BEGIN, "", kept, "", KEPT_END, ""]
    lines += machine_section(machine)
    lines += names_section(data)
    for step in STEPS:
        lines += step_section(data, step, shown.get(step.name, []))
    lines += repeat_section(data, how)
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines).rstrip() + "\n")
