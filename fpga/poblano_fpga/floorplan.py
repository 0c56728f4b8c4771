"""Where the multipliers of an array go on an ECP5.

They are in three rows across the device. nextpnr's placer spreads them over all of it and leaves the rest
of the array in a heap, whose wires then do not fit. In the array's own order each processing element's
logic follows its multiplier.
"""

import json
import re

__all__ = ["place_multipliers"]

_ROWS = (10, 34, 58)
_BLOCKS = (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)
_IN_BLOCK = ((0, 0), (1, 1), (4, 4), (5, 5))
"""LFE5U-85F: the rows' y; the blocks' x; of each multiplier in a block its x and number."""


def place_multipliers(netlist, array):
    """``netlist`` (JSON of yosys) with a BEL for each multiplier of the array: a block holds neighbours of
    a column, a row of blocks all columns of four rows. Arrays of more than 12 rows or 13 columns are left
    to the placer."""
    each = len(_IN_BLOCK)
    if array.rows > each * len(_ROWS) or array.cols > len(_BLOCKS):
        return netlist
    design = json.loads(netlist)
    placed = 0
    for name, cell in design["modules"]["top"]["cells"].items():
        found = re.search(r"row(\d+)\.pe(\d+)\.product_multiplier$", name)
        if found:
            row, col = map(int, found.groups())
            x, number = _IN_BLOCK[row % each]
            cell["attributes"]["BEL"] = f"X{_BLOCKS[col] + x}/Y{_ROWS[row // each]}/MULT18_{number}"
            placed += 1
    if placed != array.rows * array.cols:
        raise ValueError(f"{placed} multipliers of {array.rows * array.cols} were found")
    return json.dumps(design)
