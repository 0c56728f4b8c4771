"""Two products of 8 by 8 bits in each SB_MAC16, which yosys makes only one of."""

import re

__all__ = ["pair_products"]

WIDTH = 8


def pair_products(design):
    """Replace the signed products of at most 8 bits in the top of ``design`` (pyosys) by SB_MAC16 in 8 by 8 mode; their number.

    Neighbours in the order of their names share a block.
    """
    from pyosys import libyosys as ys

    ident = ys.IdString
    module = design.top_module()
    cells = [cell for cell in module.cells_.values() if cell.type.str() == "$mul" and _narrow(cell, ident)]
    cells.sort(key=lambda cell: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", cell.name.str())])
    pairs = [cells[n:n + 2] for n in range(0, len(cells), 2)]
    for number, pair in enumerate(pairs):
        block = module.addCell(ident(f"\\products{number}"), ident("\\SB_MAC16"))
        for name, value, bits in (("MODE_8x8", 1, 1), ("A_SIGNED", 1, 1), ("B_SIGNED", 1, 1), ("TOPOUTPUT_SELECT", 2, 2),
                                  ("BOTOUTPUT_SELECT", 2, 2)):
            block.setParam(ident(f"\\{name}"), ys.Const(value, bits))
        for port in "A", "B":
            operand = ys.SigSpec()
            for cell in pair:
                signal = cell.getPort(ident(f"\\{port}"))
                signal.extend_u0(WIDTH, True)
                operand.append(signal)
            operand.extend_u0(2 * WIDTH, False)
            block.setPort(ident(f"\\{port}"), operand)
        product = ys.SigSpec()
        for cell in pair:
            result = cell.getPort(ident("\\Y"))
            whole = ys.SigSpec(module.addWire(ident(f"\\product{number}_{pair.index(cell)}"), 2 * WIDTH))
            narrow = min(result.size(), 2 * WIDTH)
            low = whole.extract(0, narrow)
            low.extend_u0(result.size(), True)
            module.connect(result, low)
            product.append(whole)
            module.remove(cell)
        if len(pair) == 1:
            product.append(ys.SigSpec(module.addWire(ident(f"\\product{number}_unused"), 2 * WIDTH)))
        block.setPort(ident("\\O"), product)
    return len(pairs)


def _narrow(cell, ident):
    parameter = lambda name: cell.getParam(ident(f"\\{name}")).as_int()
    return all(parameter(f"{port}_SIGNED") and 1 < parameter(f"{port}_WIDTH") <= WIDTH for port in "AB")
