"""Text of RTLIL and Verilog: names, and what is left out of what Amaranth and yosys write."""

from collections import Counter
import re

from .processes import START

__all__ = [
    "connect_only_existing",
    "plain",
    "plain_names",
    "tidy",
    "without_empty",
    "without_fields",
    "without_zeros",
]

KEYWORDS = frozenset(
    """
accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before
begin bind bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class
clocking cmos config const constraint context continue cover covergroup coverpoint cross deassign
default defparam design disable dist do edge else end endcase endchecker endclass endclocking endconfig
endfunction endgenerate endgroup endinterface endmodule endpackage endprimitive endprogram endproperty
endsequence endspecify endtable endtask enum event eventually expect export extends extern final
first_match for force foreach forever fork forkjoin function generate genvar global highz0 highz1 if iff
ifnone ignore_bins illegal_bins implements implies import incdir include initial inout input inside
instance int integer interconnect interface intersect join join_any join_none large let liblist library
local localparam logic longint macromodule matches medium modport module nand negedge nettype new
nexttime nmos nor noshowcancelled not notif0 notif1 null or output package packed parameter pmos posedge
primitive priority program property protected pull0 pull1 pulldown pullup pulsestyle_ondetect
pulsestyle_onevent pure rand randc randcase randsequence rcmos real realtime ref reg reject_on release
repeat restrict return rnmos rpmos rtran rtranif0 rtranif1 s_always s_eventually s_nexttime s_until
s_until_with scalared sequence shortint shortreal showcancelled signed small soft solve specify
specparam static string strong strong0 strong1 struct super supply0 supply1 sync_accept_on
sync_reject_on table tagged task this throughout time timeprecision timeunit tran tranif0 tranif1 tri
tri0 tri1 triand trior trireg type typedef union unique unique0 unsigned until until_with untyped use
uwire var vectored virtual void wait wait_order wand weak weak0 weak1 while wildcard wire with within
wor xnor xor
""".split()
)
"""Reserved in Verilog and SystemVerilog."""


def plain(name):
    """``name`` without the dots and dollar signs that Amaranth puts into names of submodules and of signals
    of one name."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")
    return name + "_" if name in KEYWORDS else name if name.isidentifier() else "n" + name


def plain_names(text):
    """``text`` with names that Verilog need not escape."""
    text = re.sub(
        r"^((?:module|  cell) \\)(\S+)", lambda match: match[1] + plain(match[2]), text, flags=re.MULTILINE
    )
    names = set(re.findall(r"\\([^\s\"\\]+)", text))
    renamed: dict[str, str] = {}
    for name in sorted(name for name in names if name != plain(name)):
        new, n = plain(name), 1
        while new in names:
            n += 1
            new = f"{plain(name)}_{n}"
        names.add(new)
        renamed[name] = new
    return re.sub(r"\\([^\s\"\\]+)", lambda match: "\\" + renamed.get(match[1], match[1]), text)


def without_empty(text):
    """``text`` without operators and wires of no bits, which Verilog does not have."""
    text = re.sub(
        r"^  cell .*\n(?:    parameter .*\n)*    parameter \\(?:Y_)?WIDTH 0\n(?:    .*\n)*  end\n|^ "
        r"{0,2}connect \S+ \{ *\}\n",
        "",
        text,
        flags=re.MULTILINE,
    )
    modules = []
    for module in re.split(r"^(?=module )", text, flags=re.MULTILINE):
        uses = Counter(re.findall(r"\S+", module)) if "  wire width 0 " in module else {}
        modules.append(
            re.sub(
                r"^  wire width 0 .*?(\S+)\n",
                lambda match: "" if uses[match[1]] == 1 else match[0],
                module,
                flags=re.MULTILINE,
            )
        )
    return "".join(modules)


def without_fields(text):
    """``text`` without the wires that only show fields of structs and elements of arrays: most of what a
    wide struct takes."""
    used = Counter(re.findall(r"\\\S+", text))
    driven = set(re.findall(r"^ {0,2}connect (\\\S+) ", text, re.MULTILINE))
    shown = lambda name: (
        ("." in name or "[" in name) and name in driven and used[name] == 2
    )  # declared and driven
    lines = []
    for line in text.splitlines(keepends=True):
        words = line.split()
        if (
            line.startswith("  wire ")
            and shown(words[-1])
            or line.startswith(("connect ", "  connect "))
            and shown(words[1])
        ):
            continue
        lines.append(line)
    return "".join(lines)


def without_zeros(text):
    """``text`` without initial zeros of memories: these start at zero in simulation anyway, and spelled out
    they are most of the text."""
    return re.sub(
        r"^  cell \$meminit_v2 .*\n(?:    parameter .*\n)*    connect \\ADDR .*\n    connect \\DATA "
        r"\d+'0+\n(?:    connect .*\n)*"
        r"  end\n",
        "",
        text,
        flags=re.MULTILINE,
    )


def tidy(text):
    """``text`` of a module by yosys, with each port declared once, and the next value of a register called
    so."""
    text = re.sub(r"^(  (?:in|out)put ((?:\[.*?\] )?\w+;)\n)  wire \2\n", r"\1", text, flags=re.MULTILINE)
    following = {
        temporary: f"{register}_next"
        for register, temporary in re.findall(r"^    (\w+) <= (_\d+_);$", text, re.MULTILINE)
    }
    taken = set(re.findall(r"\w+_next\b", text))
    text = re.sub(
        r"\b_\d+_\b",
        lambda match: name if (name := following.get(match[0])) and name not in taken else match[0],
        text,
    )
    return re.sub(r"\\\$auto\$verilog_backend\S+ ?", START, text)


def connect_only_existing(text, clocked):
    """``text`` with clk and rst connections removed from cells whose module does not have these ports."""
    lines, module = [], None
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("cell "):
            module = clocked.get(stripped.split()[1].lstrip("\\"))
        elif stripped == "end":
            module = None
        if module is not None:
            if stripped.startswith("connect \\clk ") and not module[0]:
                continue
            if stripped.startswith("connect \\rst ") and not module[1]:
                continue
        lines.append(line)
    return "\n".join(lines) + "\n"
