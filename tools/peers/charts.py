"""Bar charts as SVG: a bar for a median, a line over it for the range of the rounds. A chart brings
its own background, so that it can be read on light and dark pages, and names each bar, so that no
colour is needed to tell them apart."""
from xml.sax.saxutils import escape

WIDTH = 760
LABEL = 200  # the column of names
BARS = 410
EDGE = 24
ROW = 24
BAR = 14
HEADING = 34
TOP = 66

# By what a bar stands for: ours, other settings of ours, a peer, a reference.
STYLE = """
.panel{fill:#ffffff;stroke:#d0d7de}
.title{fill:#1f2328;font-size:16px;font-weight:600}
.note,.case,.value,.name{fill:#57606a;font-size:12px}
.case{fill:#1f2328;font-weight:600}
.name{text-anchor:end}
.strong{fill:#1f2328;font-weight:600}
.ours{fill:#0969da}
.ours2{fill:#54a3f0}
.peer{fill:#bf6a02}
.reference{fill:#aeb6bf}
.range{stroke:#1f2328;stroke-width:1.5}
.axis{stroke:#d0d7de}
@media (prefers-color-scheme:dark){
.panel{fill:#0d1117;stroke:#30363d}
.note,.value,.name{fill:#9da7b1}
.title,.case,.strong{fill:#e6edf3}
.ours{fill:#388bfd}
.ours2{fill:#1f5fb4}
.peer{fill:#e3a34a}
.reference{fill:#57606a}
.range{stroke:#e6edf3}
.axis{stroke:#30363d}
}
.strong.name,.strong.value{font-weight:600}
"""


class Bar:
    def __init__(self, name, kind, median, low, high, text):
        self.name = name
        self.kind = kind  # "ours", "ours2", "peer" or "reference"
        self.median = median
        self.low = low
        self.high = high
        self.text = text


def text(x, y, words, classes):
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{classes}">{escape(words)}</text>'


def bar_lines(bar, y, scale):
    x = EDGE + LABEL
    strong = " strong" if bar.kind == "ours" else ""
    middle = y + BAR / 2
    yield text(x - 10, middle + 4, bar.name, "name" + strong)
    yield (
        f'<rect x="{x}" y="{y}" width="{max(bar.median * scale, 1):.1f}" height="{BAR}" rx="2" '
        f'class="{bar.kind}"/>'
    )
    if bar.high > bar.low:
        yield (
            f'<line x1="{x + bar.low * scale:.1f}" x2="{x + bar.high * scale:.1f}" y1="{middle}" '
            f'y2="{middle}" class="range"/>'
        )
    yield text(x + max(bar.high, bar.median) * scale + 8, middle + 4, bar.text, "value" + strong)


def group_lines(heading, bars, y, scale):
    if heading:
        yield text(EDGE, y + 18, heading, "case")
        y += HEADING
    x = EDGE + LABEL
    yield f'<line x1="{x}" x2="{x}" y1="{y - 4}" y2="{y + len(bars) * ROW - 4}" class="axis"/>'
    for bar in bars:
        yield from bar_lines(bar, y, scale)
        y += ROW


def largest(bars):
    return max(max(bar.high, bar.median) for bar in bars) or 1


def chart(title, note, groups, one_scale=True):
    """`groups`: pairs of a heading and its bars. With one scale, bars of different groups can be
    compared; without, each group's longest bar is as long as the others'."""
    groups = [(heading, bars) for heading, bars in groups if bars]
    longest = max(largest(bars) for _, bars in groups)
    lines, y = [], TOP
    for heading, bars in groups:
        scale = BARS / (longest if one_scale else largest(bars))
        lines += group_lines(heading, bars, y, scale)
        y += (HEADING if heading else 0) + len(bars) * ROW + 6
    height = y + 14
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" font-family="system-ui, -apple-system, Segoe UI, Helvetica, sans-serif" '
            f'role="img" aria-label="{escape(title)}">',
            f"<style>{STYLE}</style>",
            f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8" class="panel"/>',
            text(EDGE, 30, title, "title"),
            text(EDGE, 50, note, "note"),
            *lines,
            "</svg>",
            "",
        ]
    )
