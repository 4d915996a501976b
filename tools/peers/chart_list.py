"""Which charts a report has, and of what. See charts.py for how they look."""
import os

from charts import Bar, chart
from plan import DRAWN
from text import number


class Chart:
    """`cases` None: all of the step. `drawn`: how those are that have no style of their own."""

    def __init__(self, file, step, figure, title, note, cases=None, one_scale=True, drawn="peer"):
        self.file = file
        self.step = step
        self.figure = figure
        self.title = title
        self.note = note
        self.cases = cases
        self.one_scale = one_scale
        self.drawn = drawn

    def bars(self, data, case):
        bars = []
        for server in data.servers(self.step, case):
            found = data.summary((self.step, case, server, self.figure))
            if found:
                unit = found.unit.split("/")[0]  # the title says of what, and by the second
                text = number(found.median) + ("" if found.unit.endswith("/s") else f" {unit}")
                bars.append(
                    Bar(
                        server,
                        DRAWN.get(server, self.drawn),
                        found.median,
                        found.low,
                        found.high,
                        text,
                    )
                )
        return bars

    def draw(self, data):
        """The text of the file; None when nothing of it was measured."""
        cases = [case for case in data.cases(self.step) if not self.cases or case in self.cases]
        groups = [(case, bars) for case in cases if (bars := self.bars(data, case))]
        if not groups:
            return None
        count = data.summary((self.step, groups[0][0], groups[0][1][0].name, self.figure)).rounds
        rounds = f" The line is the range of {count} rounds." if count > 1 else ""
        return chart(self.title, self.note + rounds, groups, self.one_scale)


PUBLISHERS = ["from the loop's thread", "from 1 thread", "from 4 threads"]
CHARTS = [
    Chart(
        "publish-rate.svg",
        "publish",
        "rate",
        "Publishes a second",
        "POST of 200 bytes each, no store. More is better.",
    ),
    Chart(
        "publish-cpu.svg",
        "publish",
        "server CPU",
        "Processor time a publish takes the server",
        "POST of 200 bytes each, no store. Less is better.",
    ),
    Chart(
        "publish-kept.svg",
        "publish-kept",
        "rate",
        "Publishes a second, and kept",
        "POST of 200 bytes each, answered when the event is kept. More is better.",
    ),
    Chart(
        "hold-wake.svg",
        "hold",
        "last woken",
        "Waking all waiters with one event",
        "From the publish until the last of them has it. Less is better.",
    ),
    Chart(
        "hold-memory.svg",
        "hold-distinct",
        "memory waiting",
        "User memory of a waiter",
        "Polls that wait, each on a category of its own. Less is better.",
    ),
    Chart(
        "latency-p99.svg",
        "latency",
        "latency p99",
        "How late an event comes: the 99th percentile",
        "All subscribers get every event, and resume by cursor. Less is better.",
    ),
    Chart(
        "latency-cpu.svg",
        "latency",
        "server CPU",
        "Processor time a delivery takes the server",
        "All subscribers get every event, and resume by cursor. Less is better.",
    ),
    Chart(
        "catch-up.svg",
        "catch-up",
        "rate",
        "Catching up: answers a second",
        "All that is buffered in one answer, events of 200 bytes. More is better.",
        one_scale=False,
    ),
    Chart(
        "in-process.svg",
        "in-process",
        "rate",
        "lp_publish in process: events a second",
        "200 bytes each, no HTTP. More is better.",
        PUBLISHERS,
        drawn="ours2",
    ),
]


def write_charts(data, folder):
    """Returns what each step shows."""
    shown = {}
    for one in CHARTS:
        path = os.path.join(folder, one.file)
        drawn = one.draw(data)
        if drawn:
            with open(path, "w", encoding="utf-8") as file:
                file.write(drawn)
            shown.setdefault(one.step, []).append((one.file, one.title))
        elif os.path.exists(path):
            os.remove(path)
    return shown
