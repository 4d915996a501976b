"""What was measured: a value for each round of each figure of each server in each case. Medians,
ranges and ratios are made from it, and it is kept as JSON Lines, so that a report can be written
again and a part of a run be repeated."""
import json
import os
import statistics


class Summary:
    """Of some rounds."""

    def __init__(self, values, unit):
        self.median = statistics.median(values)
        self.low = min(values)
        self.high = max(values)
        self.rounds = len(values)
        self.unit = unit
        self.values = values

    def inverted(self, dividend):
        return Summary([dividend / value for value in self.values if value] or [0], self.unit)


class Data:
    def __init__(self):
        self.rows = {}  # (step, case, server, figure) -> {"unit": ..., "values": {round: value}}
        self.about = {}  # the machine, and how it was run
        self.wrong = {}  # step -> sentences: what was checked and did not hold
        self.left_out = {}  # step -> why

    def add(self, step, turn, line):
        """A line of `longpoll bench --json` that ran one round. Its ratios are not kept: they are
        made here, over all rounds."""
        if line["unit"] == "ratio":
            return
        key = (step, line["case"], line["server"], line["figure"])
        row = self.rows.setdefault(key, {"unit": line["unit"], "values": {}})
        row["values"][turn] = line["median"]

    def add_wrong(self, step, turn, sentence):
        self.wrong.setdefault(step, []).append(f"round {turn + 1}: {sentence}")

    def forget(self, step):
        self.wrong.pop(step, None)
        self.left_out.pop(step, None)
        self.rows = {key: row for key, row in self.rows.items() if key[0] != step}

    def steps(self):
        return list(dict.fromkeys(key[0] for key in self.rows))

    def cases(self, step):
        return list(dict.fromkeys(key[1] for key in self.rows if key[0] == step))

    def servers(self, step, case):
        return list(dict.fromkeys(key[2] for key in self.rows if key[:2] == (step, case)))

    def figures(self, step, case):
        return list(dict.fromkeys(key[3] for key in self.rows if key[:2] == (step, case)))

    def summary(self, key):
        row = self.rows.get(key)
        return Summary(list(row["values"].values()), row["unit"]) if row else None

    def ratio(self, key, other):
        """The median of the ratios within a round, never the ratio of medians: what the machine did
        to one, it did to the other."""
        row, reference = self.rows.get(key), self.rows.get(other)
        if not row or not reference:
            return None
        values = [
            value / reference["values"][turn]
            for turn, value in row["values"].items()
            if reference["values"].get(turn)
        ]
        return Summary(values, "ratio") if values else None

    def rounds(self):
        return max((len(row["values"]) for row in self.rows.values()), default=0)

    def load(self, path):
        if not os.path.exists(path):
            return
        with open(path, encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                if "machine" in row:
                    self.about = row
                    continue
                if "wrong" in row:
                    self.wrong.setdefault(row["step"], []).append(row["wrong"])
                    continue
                if "left_out" in row:
                    self.left_out[row["step"]] = row["left_out"]
                    continue
                key = (row["step"], row["case"], row["server"], row["figure"])
                values = {int(turn): value for turn, value in row["values"].items()}
                self.rows[key] = {"unit": row["unit"], "values": values}

    def save(self, path):
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(json.dumps(self.about) + "\n")
            for (step, case, server, figure), row in self.rows.items():
                line = {"step": step, "case": case, "server": server, "figure": figure, **row}
                file.write(json.dumps(line) + "\n")
            for step, sentences in self.wrong.items():
                for sentence in sentences:
                    file.write(json.dumps({"step": step, "wrong": sentence}) + "\n")
            for step, why in self.left_out.items():
                file.write(json.dumps({"step": step, "left_out": why}) + "\n")
        os.replace(path + ".new", path)
