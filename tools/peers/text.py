"""Figures as a reader wants them, and tables of Markdown."""


def number(value):
    """With as many digits as are worth reading."""
    size = abs(value)
    if size >= 100 or size == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.4f}"


def ranged(summary):
    if summary.rounds == 1:
        return number(summary.median)
    return f"{number(summary.median)} ({number(summary.low)} to {number(summary.high)})"


def told_beside(summary, bound):
    """As ranged, with a digit more where the two would look the same and are not."""
    if number(summary.median) == number(bound) and summary.median != bound and summary.rounds == 1:
        return f"{summary.median:.3f}"
    if number(summary.median) == number(bound) and summary.median != bound:
        return f"{summary.median:.3f} ({number(summary.low)} to {number(summary.high)})"
    return ranged(summary)


def table(heads, rows):
    yield "| " + " | ".join(heads) + " |"
    yield "|" + " --- |" * len(heads)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
