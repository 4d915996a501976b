"""The steps of the whole table: which mode of `longpoll bench` runs, with what, against whom. Each
round of a step starts its servers anew."""
from servers import Golongpoll, Longpolld, Nchan, Reference

OURS = "longpolld"
LOOPS = "longpolld, 2 loops"
INTERVAL = "longpolld, journal interval"
ALWAYS = "longpolld, journal always"
UV = "longpoll on libuv"
NCHAN = Nchan.name
GOLONGPOLL = Golongpoll.name
RESPONDER = "responder"
FLOOR = "h2o-evloop"
FLOOR_UV = "h2o-uv"

# How a chart draws them; everything else is a peer's.
DRAWN = {
    OURS: "ours",
    LOOPS: "ours2",
    INTERVAL: "ours2",
    ALWAYS: "ours2",
    UV: "ours2",
    RESPONDER: "reference",
    FLOOR: "reference",
    FLOOR_UV: "reference",
    "memory": "ours",
}

# What a reader of the report needs to know about each name.
TOLD = {
    OURS: "longpolld with one loop, on libh2o-evloop, events in memory alone",
    LOOPS: "the same with `--threads 2`",
    INTERVAL: "longpolld with `--store journal:DIR`: written before a publish is answered, on disk "
    "within a second",
    ALWAYS: "longpolld with `--store journal:DIR?sync=always`: on disk before a publish is answered",
    UV: "the least program with `longpoll::http` in a libuv loop, on libh2o",
    NCHAN: "nchan in nginx with one worker",
    GOLONGPOLL: "a Go program that serves golongpoll's two handlers; Go uses all cores",
    RESPONDER: "a trivial epoll server that knows no HTTP beyond the next empty line: the machine's "
    "limit, inside `longpoll bench`",
    FLOOR: "the least server on libh2o-evloop: a no-op POST handler, GETs that are parked and then "
    "answered together (`longpoll-floor-evloop`)",
    FLOOR_UV: "the same on libh2o with libuv (`longpoll-floor-uv`)",
}

SERVERS = {
    OURS: Longpolld(OURS, "--log-level", "error"),
    LOOPS: Longpolld(LOOPS, "--log-level", "error", "--threads", "2"),
    INTERVAL: Longpolld(INTERVAL, "--log-level", "error", "--store", "journal:DIR/journal"),
    ALWAYS: Longpolld(ALWAYS, "--log-level", "error", "--store", "journal:DIR/journal?sync=always"),
    UV: Longpolld(UV, program="longpoll-serve-uv"),
    NCHAN: Nchan(),
    GOLONGPOLL: Golongpoll(),
    RESPONDER: Reference(
        RESPONDER,
        "responder",
        "longpoll",
        "bench",
        "responder",
        "--port",
        "PORT",
        "--event-buffer",
        "BUFFER",
    ),
    FLOOR: Reference(FLOOR, "h2o", "longpoll-floor-evloop", "--listen", "127.0.0.1:PORT"),
    FLOOR_UV: Reference(FLOOR_UV, "h2o", "longpoll-floor-uv", "--listen", "127.0.0.1:PORT"),
}
KEEPING = [OURS, LOOPS, UV, NCHAN, GOLONGPOLL, RESPONDER]  # events for those who come later
ALL = KEEPING + [FLOOR, FLOOR_UV]

# longpolld with room for a million categories, and with long rings.
LARGE = Longpolld(
    OURS,
    "--log-level",
    "error",
    "--max-categories",
    "2000000",
    "--max-events",
    "4000000",
    "--max-events-bytes",
    "8GiB",
)
MANY = Longpolld(
    OURS, "--log-level", "error", "--max-waiters", "200000", "--max-connections", "200000"
)
LONG_RINGS = Longpolld(
    "longpolld, rings of 10,000", "--log-level", "error", "--event-buffer", "10000"
)


class Step:
    """What a round of it runs: invocations of `longpoll bench`, one behind the other. `told`: what
    a reader has to know. `servers`: names, or servers that are set up otherwise. `quick`: what a
    short run replaces or adds."""

    def __init__(
        self,
        name,
        title,
        told,
        invocations,
        servers,
        quick,
        event_buffer=250,
        descriptors=0,
        rounds=99,
    ):
        self.name = name
        self.title = title
        self.told = told
        self.invocations = [line.split() for line in invocations]
        self.servers = [SERVERS.get(server, server) for server in servers]
        self.quick = quick
        self.event_buffer = event_buffer
        self.descriptors = descriptors  # that a process has to be allowed
        self.rounds = rounds  # at most: it takes minutes

    def commands(self, is_quick):
        return [self.shortened(words) if is_quick else words for words in self.invocations]

    def shortened(self, words):
        words = list(words)
        for flag, value in self.quick.items():
            if flag in words:
                words[words.index(flag) + 1] = value
            else:
                words += [flag, value]
        return words


PUBLISH_QUICK = {"--connections": "4", "--seconds": "0.2"}
STREAM_QUICK = {"--subscribers": "5", "--rate": "50", "--seconds": "1"}
PUBLISH = "publish --connections 1,16,64 --bytes 200 --seconds 2"
HOLD = (
    "All polls wait, each on a connection of its own; one event wakes them; they poll again, and "
    "then all leave, half by FIN and half by RST. Memory is the server's anonymous and shared memory, "
    "beyond what it had before the first poll."
)
DELIVER = (
    "Each subscriber gets every event, once and in order, which is checked. Times are from before "
    "the publish is sent until the subscriber has the event."
)
GROWTH_WAITERS = "Growth: 1,000 to 18,000 waiters"

STEPS = [
    Step(
        "publish",
        "Publishing over HTTP",
        "Each connection is kept alive and has one POST of 200 bytes of data out at a time.",
        [PUBLISH],
        ALL,
        PUBLISH_QUICK,
    ),
    Step(
        "publish-arrays",
        "Publishing arrays of events",
        "The same with a body of one event, and of 16.",
        ["publish --connections 16,64 --batch 1,16 --bytes 200 --seconds 2"],
        [OURS, LOOPS],
        {**PUBLISH_QUICK, "--batch": "1,4"},
    ),
    Step(
        "publish-kept",
        "Publishing with a store",
        "The same; the answer comes when the event is kept.",
        [PUBLISH],
        [OURS, INTERVAL, ALWAYS, RESPONDER],
        PUBLISH_QUICK,
    ),
    Step(
        "hold",
        "Many waiters on one category",
        HOLD,
        ["hold --waiters 10000"],
        ALL,
        {"--waiters": "100"},
        descriptors=10200,
    ),
    Step(
        "hold-distinct",
        "Many waiters, a category each",
        "The same, each with a category and an event of its own, published over 16 connections. The "
        "floors and the responder know no categories: their memory stands here alone.",
        ["hold --waiters 10000 --distinct"],
        ALL,
        {"--waiters": "100"},
        descriptors=10200,
    ),
    Step(
        "latency",
        "Polls of many subscribers",
        DELIVER + " They resume by cursor, poll after poll.",
        ["latency --subscribers 100 --rate 200 --seconds 5"],
        KEEPING,
        STREAM_QUICK,
    ),
    Step(
        "catch-up",
        "Catching up",
        "16 connections ask again and again for all that a category has buffered. nchan answers with "
        "multipart.",
        ["catch-up --events 250 --seconds 2", "catch-up --events 10000 --seconds 5"],
        KEEPING,
        {"--events": "50", "--seconds": "0.2"},
        event_buffer=10000,
    ),
    Step(
        "sse",
        "Event streams of many subscribers",
        DELIVER + " They read server-sent events.",
        ["sse --subscribers 100 --rate 200 --seconds 5"],
        [OURS, LOOPS, UV, NCHAN],
        STREAM_QUICK,
    ),
    Step(
        "growth-waiters",
        GROWTH_WAITERS,
        HOLD,
        ["hold --waiters 1000,10000,18000"],
        [OURS, NCHAN, RESPONDER, FLOOR],
        {"--waiters": "50,100"},
        descriptors=18200,
        rounds=3,
    ),
    Step(
        "growth-many",
        "Growth: 100,000 waiters",
        HOLD,
        ["hold --waiters 100000"],
        [MANY],
        {"--waiters": "150"},
        descriptors=100200,
        rounds=3,
    ),
    Step(
        "growth-categories",
        "Growth: one to a million categories",
        "Publishes take turns over so many categories. Of the last line nearly half are a category's "
        "first.",
        [
            f"publish --connections 64 --bytes 200 --categories {count} --seconds {seconds}"
            for count, seconds in [(1, 2), (1000, 2), (1000000, 30)]
        ],
        [LARGE],
        PUBLISH_QUICK,
        rounds=3,
    ),
    Step(
        "growth-rings",
        "Growth: rings of 250 and of 10,000 events",
        "Publishes to one category, whose ring is full.",
        ["publish --connections 64 --bytes 200 --seconds 4"],
        [OURS, LONG_RINGS],
        PUBLISH_QUICK,
        rounds=3,
    ),
    Step(
        "in-process",
        "In process",
        "`lp_publish` of 200 bytes in a process that does nothing else: no HTTP, no peers. `always` and "
        "`interval` are the store's sync level.",
        ["in-process --dir SCRATCH --threads 0,1,4"],
        [],
        {
            "--events": "20000",
            "--categories": "1000",
            "--threads": "0,4",
            "--stores": "memory,journal",
            "--sync": "interval",
        },
        rounds=3,
    ),
    Step(
        "store",
        "Stores",
        "The add-ons without a manager, beside the least that any such store must do: a framed pwrite, "
        'or a bare loop with the same library, settings and batch. "again": over a file that was '
        'written before, as recycled segments are. "retained": old events go as new ones come.',
        ["store --dir SCRATCH --sync interval,always --cell-ms 1000"],
        [],
        {
            "--events": "20000",
            "--cell-ms": "20",
            "--retain": "2000",
            "--stores": "journal",
            "--sync": "interval",
        },
        rounds=3,
    ),
]
