"""The rules of the vector unit's commands, and of EXPERT, in the golden chip's reading of
``docs/commands.md``."""

from .rule import Rules, field

__all__ = ["ExpertRules", "GatherRules", "RouteRules", "ScatterRules", "VectorRules"]

VMEM, QUANTISE = 1, 2
ARGMAX = 3
B, ROW = 0, 1


class VectorRules(Rules):
    def __init__(self, o, config, own, tables):
        super().__init__(o, config, own, tables)
        self.row = 4 * o["blocks"]  # lines of a row of elements
        selected = [o[f"sel{n}"] for n in (1, 2) if o[f"op{n}"] != 0]
        self.reads_b, self.reads_c = B in selected, ROW in selected
        self.rows_of_b = -(-o["rows"] // max(1, o["share"]))

    def fields(self):
        o = self.o
        field(o["blocks"] <= 2047, f"blocks {o['blocks']} are more than 2047")
        field(o["sink"] != QUANTISE or o["reduce"] != ARGMAX, "quantise and argmax can't be combined")
        if o["sink"] == QUANTISE:
            self.activation()
        else:
            field(o["activation"] == 0, "an activation format without quantise")
        if o["dst_step"]:
            field(o["sink"] == QUANTISE, "dst_step without quantise")
            field(o["dst_step"] >= o["blocks"], "blocks of rows that share overlap")

    def alignment(self):
        self.multiples("a", self.row_lines)
        if self.reads_b:
            self.multiples("b", self.row_lines)
        if self.o["sink"] == VMEM:
            self.multiples("dst", self.row_lines)

    def places(self):
        """(first, end) of what the command has in vector memory, by name."""
        o = self.o
        scalars = -(-o["rows"] // 8)
        found = {"a": self.rows_of("a", self.row)}
        if self.reads_b:
            found["b"] = self.rows_of("b", self.row, self.rows_of_b)
        if self.reads_c:
            found["c"] = (o["c"], o["c"] + scalars)
        if o["sink"] == VMEM:
            found["dst"] = self.rows_of("dst", self.row)
        if o["reduce"]:
            found["r"] = (o["r"], o["r"] + (1 if o["reduce"] == ARGMAX else scalars))
        return found

    def local_ranges(self):
        for name, place in self.places().items():
            self.within(name, place, self.lines)
        if self.o["sink"] == QUANTISE:
            self.within("dst", self.blocks_written(), self.blocks)

    def blocks_written(self):
        """First block and the end; with a step the last rows count as if as many shared as before."""
        o = self.o
        if o["dst_step"] == 0:
            return self.rows_of("dst", o["blocks"])
        inside, first = o["dst_step"] * (min(o["rows"], o["share"]) - 1), o["dst"]
        turns = self.rows_of_b - 1
        return first, first + turns * (o["dst_stride"] + inside) + inside + o["blocks"]

    def overlaps(self):
        o, places = self.o, self.places()
        if o["sink"]:
            self.apart("dst", self.row if o["sink"] == VMEM else o["blocks"], self.rows_apart())
        pairs = [("dst", "r")]
        if o["tiles"] >> self.own & 1:
            pairs += [(written, read) for written in ("dst", "r") for read in "abc"]
        for written, read in pairs:
            if written in places and read in places and not self.in_place(written, read):
                self.disjoint(written, places[written], read, places[read])

    def rows_apart(self):
        """The rows of dst that must not overlap."""
        return self.rows_of_b if self.o["dst_step"] else self.o["rows"]

    def in_place(self, written, read):
        """Whether elements are written where they are read, each after it was read."""
        o = self.o
        if written != "dst" or read not in ("a", "b") or o["dst"] != o[read]:
            return False
        if read == "b" and self.rows_of_b != o["rows"]:
            return False
        return o["rows"] == 1 or o["dst_stride"] == o[f"{read}_stride"]


class _Listed(VectorRules):
    """What GATHER and SCATTER have in common; ``LISTED`` are the operands whose rows the list names."""

    LISTED: tuple = ()

    def __init__(self, o, config, own, tables):
        super().__init__(o | {"reduce": 0, "dst_step": 0, "share": 1}, config, own, tables)

    def rows_named(self, name):
        return self.o["numbers" if name in self.LISTED else "rows"]

    def places(self):
        o = self.o
        found = {"a": self.rows_of("a", self.row, self.rows_named("a"))}
        found["c"] = (o["c"], o["c"] + -(-2 * o["rows"] // 8))
        if self.reads_b:
            found["b"] = self.rows_of("b", self.row, self.rows_named("b"))
        if o["sink"] == VMEM:
            found["dst"] = self.rows_of("dst", self.row, self.rows_named("dst"))
        return found

    def blocks_written(self):
        return self.rows_of("dst", self.o["blocks"], self.rows_named("dst"))

    def rows_apart(self):
        return self.rows_named("dst")

    def in_place(self, written, read):
        o = self.o
        if (written, read) != ("dst", "b") or o["dst"] != o["b"]:
            return False
        if self.rows_named("dst") != self.rows_named("b"):
            return False
        return self.rows_named("dst") == 1 or o["dst_stride"] == o["b_stride"]


class GatherRules(_Listed):
    LISTED = ("a",)


class ScatterRules(_Listed):
    LISTED = ("b", "dst")


class RouteRules(Rules):
    def fields(self):
        o, most = self.o, self.config.experts
        field(o["experts"] <= 256, f"experts {o['experts']} are more than 256")
        field(o["used"] <= 8, f"used {o['used']} are more than 8")
        for name in ("experts", "used", "rows"):
            limit = getattr(most, name)
            field(o[name] <= limit, f"{name} {o[name]} are more than the chip's {limit}")
        field(o["used"] <= o["experts"], f"used {o['used']} of {o['experts']} experts")
        field(o["capacity"] <= most.rows, f"capacity {o['capacity']} is more than the chip's {most.rows}")
        if o["group_count"]:
            self.groups()

    def groups(self):
        """Experts in groups."""
        o = self.o
        experts, groups, its, most = (
            o[name] for name in ("experts", "group_count", "group_size", "group_used")
        )
        field(groups <= 8, f"group_count {groups} is more than 8")
        field(its >= 2 and groups * its == experts, f"{groups} groups of {its} of {experts} experts")
        limit = min(groups, self.config.experts.used)
        field(1 <= most <= limit, f"group_used {most} is not 1 to {limit}")
        field(o["used"] <= most * its, f"used {o['used']} of {most} groups of {its} experts")

    def alignment(self):
        for name in ("a", "b", "c") if self.o["capacity"] else ("a", "b"):
            self.multiples(name, self.row_lines)

    def places(self):
        o, row = self.o, 4 * -(-self.o["experts"] // 32)
        windows = {"c": self.rows_of("c", self.row_lines)} if o["capacity"] else {}
        return windows | {
            "dst": self.rows_of("dst", 1),
            "list": (o["list"], o["list"] + o["rows"] * o["used"]),
            "a": self.rows_of("a", row),
            "b": self.rows_of("b", row),
        }

    def local_ranges(self):
        for name, place in self.places().items():
            self.within(name, place, self.lines)

    def overlaps(self):
        places = self.places()
        self.apart("dst", 1, self.o["rows"])
        pairs = [("dst", "list")]
        if self.o["tiles"] >> self.own & 1:
            pairs += [(written, read) for written in ("dst", "list") for read in "abc" if read in places]
        for written, read in pairs:
            self.disjoint(written, places[written], read, places[read])


class ExpertRules(Rules):
    def fields(self):
        o = self.o
        field(o["commands"] <= o["skip"], f"of {o['commands']} commands {o['skip']} are passed over")
