"""What is to be reached, as ratios within one run. Each target names the figures that it is about;
whether it is met is found in the data. A figure that a run did not measure is said to be so."""
from plan import ALWAYS, FLOOR, FLOOR_UV, GOLONGPOLL, INTERVAL, NCHAN, OURS, UV

AT_LEAST, AT_MOST = "at least", "at most"
RATE, CPU = "rate", "server CPU"


class Target:
    """Of a figure (step, case, server, figure) alone, or as a ratio to another one's. With
    `inverse` the figure is a time for each, and the target a number a second."""

    def __init__(self, what, key, relation, bound, against=None, unit="", inverse=False):
        self.what = what
        self.key = key
        self.relation = relation
        self.bound = bound
        self.against = against
        self.unit = unit
        self.inverse = inverse

    def measure(self, data):
        """What was measured, in the unit of the bound; None where it was not."""
        found = data.ratio(self.key, self.against) if self.against else data.summary(self.key)
        return found.inverted(1e6) if found and self.inverse else found

    def is_met(self, data, found):
        if self.relation == AT_LEAST:
            return found.median >= self.bound
        return found.median <= self.bound


class Held(Target):
    """Nothing that was checked went wrong with a server of a step."""

    def __init__(self, what, key, relation):
        super().__init__(what, key, relation, None)

    def measure(self, data):
        return data.summary(self.key)

    def is_met(self, data, found):
        return not any(
            f"{self.key[2]}:" in sentence for sentence in data.wrong.get(self.key[0], [])
        )


class Group:
    """A line of the table."""

    def __init__(self, title, *targets):
        self.title = title
        self.targets = targets


def connections(step, count, server, figure):
    return (step, f"{count} connection{'s' if count > 1 else ''}", server, figure)


def publish(count):
    def of(server, figure):
        return connections("publish", count, server, figure)

    yield Target(
        f"{count} connections, rate / h2o-evloop",
        of(OURS, RATE),
        AT_LEAST,
        1 / 1.15,
        of(FLOOR, RATE),
    )
    yield Target(
        f"{count} connections, CPU / h2o-evloop", of(OURS, CPU), AT_MOST, 1.15, of(FLOOR, CPU)
    )
    yield Target(
        f"{count} connections, rate / nchan", of(OURS, RATE), AT_LEAST, 1.0, of(NCHAN, RATE)
    )
    yield Target(
        f"{count} connections, rate / golongpoll",
        of(OURS, RATE),
        AT_LEAST,
        2.2,
        of(GOLONGPOLL, RATE),
    )
    yield Target(
        f"{count} connections, CPU / golongpoll", of(OURS, CPU), AT_MOST, 1 / 3, of(GOLONGPOLL, CPU)
    )
    yield Target(
        f"{count} connections, on libuv: rate / h2o-uv",
        of(UV, RATE),
        AT_LEAST,
        1 / 1.15,
        of(FLOOR_UV, RATE),
    )
    yield Target(
        f"{count} connections, on libuv: CPU / h2o-uv",
        of(UV, CPU),
        AT_MOST,
        1.15,
        of(FLOOR_UV, CPU),
    )


def arrays(count):
    single = connections("publish-arrays", count, OURS, RATE)
    array = ("publish-arrays", single[1] + ", arrays of 16", OURS, RATE)
    return Target(
        f"{count} connections, events of arrays of 16 / singles", array, AT_LEAST, 5.0, single
    )


def kept(server, what, bound):
    return Target(
        f"64 connections, journal {what} / without a store",
        connections("publish-kept", 64, server, RATE),
        AT_LEAST,
        bound,
        connections("publish-kept", 64, OURS, RATE),
    )


def against_each(key, what, relation, bounds):
    """The same figure of ours beside that of each of some others."""
    step, case, _, figure = key
    for other, bound in bounds:
        yield Target(f"{what} / {other}", key, relation, bound, (step, case, other, figure))


HELD, HELD_DISTINCT = "10000 waiters", "10000 waiters, distinct categories"
WAITING, AGAIN, LEFT = "memory waiting", "memory waiting again", "memory when they have left"
STREAMED = "100 subscribers x 200 events/s"


def catch_up(events, bound):
    key = ("catch-up", f"{events} events an answer", OURS)
    yield from against_each(
        (*key, RATE), f"{events} events, answers/s", AT_LEAST, [(GOLONGPOLL, bound)]
    )
    yield from against_each(
        (*key, "server CPU of an event"),
        f"{events} events, CPU of an event",
        AT_MOST,
        [(GOLONGPOLL, 0.15)],
    )


def in_process(case, server, figure):
    return ("in-process", case, server, figure)


def store(case, server, figure=RATE):
    return ("store", case, server, figure)


def appended(kind, raw, sync, batch, bound, case="growing"):
    name = f"{sync}, batch {batch}, {case}"
    return Target(f"{kind} {name} / {raw}", store(name, kind), AT_LEAST, bound, store(name, raw))


def bare(kind, raw):
    """Beside the bare loop of the same library, at the same batch and level."""
    for sync in ["interval", "always"]:
        for batch in [1, 64, 1024]:
            yield appended(kind, raw, sync, batch, 0.8)
            yield appended(kind, raw, sync, batch, 0.55, "retained")
    yield Target(
        f"{kind} replay / {raw}",
        store("replay into a sink", kind),
        AT_LEAST,
        0.7,
        store("replay into a sink", raw),
    )


GROUPS = [
    Group("publish over HTTP, no store", *publish(16), *publish(64)),
    Group("publish, arrays of 16", arrays(16), arrays(64)),
    Group(
        "publish with the journal", kept(INTERVAL, "interval", 0.85), kept(ALWAYS, "always", 0.7)
    ),
    Group(
        "user memory of a waiter, distinct categories",
        *against_each(
            ("hold-distinct", HELD_DISTINCT, OURS, WAITING),
            "memory",
            AT_MOST,
            [(FLOOR, 1.06), (NCHAN, 0.9), (GOLONGPOLL, 0.55)],
        ),
        Target(
            "woken once and waiting again / before",
            ("hold-distinct", HELD_DISTINCT, OURS, AGAIN),
            AT_MOST,
            1.06,
            ("hold-distinct", HELD_DISTINCT, OURS, WAITING),
        ),
        Target(
            "when all have left / before",
            ("hold", HELD, OURS, LEFT),
            AT_MOST,
            0.1,
            ("hold", HELD, OURS, WAITING),
        ),
    ),
    Group(
        "wake 10,000 waiters with one event",
        *against_each(
            ("hold", HELD, OURS, "last woken"),
            "until the last has it",
            AT_MOST,
            [(FLOOR, 1.1), (NCHAN, 0.85), (GOLONGPOLL, 0.7)],
        ),
    ),
    Group(
        "100 subscribers x 200 events/s, resumed by cursor",
        Held(
            "longpolld", ("latency", STREAMED, OURS, "latency p99"), "every event once and in order"
        ),
        *against_each(("latency", STREAMED, OURS, "latency p99"), "p99", AT_MOST, [(NCHAN, 1.0)]),
        *against_each(
            ("latency", STREAMED, OURS, CPU), "CPU of a delivery", AT_MOST, [(NCHAN, 1.0)]
        ),
    ),
    Group("catch-up, all in one answer", *catch_up(250, 6.0), *catch_up(10000, 4.0)),
    Group(
        "`lp_publish` in process, 200 bytes",
        Target(
            "from the loop's thread, no store",
            in_process("from the loop's thread", "memory", RATE),
            AT_LEAST,
            2e6,
            unit="events/s",
        ),
        Target(
            "from the loop's thread, journal interval",
            in_process("from the loop's thread", "journal interval", RATE),
            AT_LEAST,
            1.5e6,
            unit="events/s",
        ),
        Target(
            "from four threads, no store",
            in_process("from 4 threads", "memory", RATE),
            AT_LEAST,
            1e6,
            unit="events/s",
        ),
    ),
    Group(
        "memory of a buffered event",
        Target(
            "beside its wire text",
            in_process("buffered in one category", "memory", "memory beside the wire text"),
            AT_MOST,
            64,
            unit="bytes",
        ),
    ),
    Group(
        "a million categories with one event each",
        Target(
            "a category, beside its event",
            in_process("one event in each of many categories", "memory", "memory beside the event"),
            AT_MOST,
            600,
            unit="bytes",
        ),
        Target(
            "CPU of a publish / with one category",
            in_process("publish into rings of one event", "1000000 categories", "CPU"),
            AT_MOST,
            1.5,
            in_process("publish into rings of one event", "1 category", "CPU"),
        ),
    ),
    Group(
        "one engine thread",
        Target(
            "publish, wake a waiter, wait again: by its own CPU",
            in_process("publish, wake a waiter, wait again", "1000 waiters", "CPU of the loop"),
            AT_LEAST,
            2e6,
            unit="operations/s",
            inverse=True,
        ),
    ),
    Group(
        "journal, append",
        appended("journal", "framed pwrite", "interval", 64, 0.8),
        appended("journal", "framed pwrite", "always", 1, 0.9),
        appended("journal", "framed pwrite again", "always", 64, 1.0, "retained"),
        appended("journal", "framed pwrite", "always", 256, 0.8),
    ),
    Group(
        "journal, replay",
        Target(
            "into the rings", store("replay into rings", "journal"), AT_LEAST, 3e6, unit="events/s"
        ),
    ),
    Group("SQLite", *bare("sqlite", "bare SQLite")),
    Group("LMDB", *bare("lmdb", "bare LMDB")),
]
