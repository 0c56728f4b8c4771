"""Products of 8 by 8 bits in the devices' multipliers, where yosys does less: two in each SB_MAC16,
registers in MULT18X18D."""

import re

__all__ = ["pair_products", "register_products"]

WIDTH, DSP_WIDTH = 8, 18


def pair_products(design):
    """Replace the signed products of at most 8 bits in the top of ``design`` (pyosys) by SB_MAC16 in 8 by 8
    mode; their number.

    Neighbours in the order of their names share a block.
    """
    from pyosys import libyosys as ys

    ident = ys.IdString
    module = design.top_module()
    cells = _products(module, ident)
    cells.sort(
        key=lambda cell: [
            int(part) if part.isdigit() else part for part in re.split(r"(\d+)", cell.name.str())
        ]
    )
    pairs = [cells[n : n + 2] for n in range(0, len(cells), 2)]
    for number, pair in enumerate(pairs):
        block = module.addCell(ident(f"\\products{number}"), ident("\\SB_MAC16"))
        for name, value, bits in (
            ("MODE_8x8", 1, 1),
            ("A_SIGNED", 1, 1),
            ("B_SIGNED", 1, 1),
            ("TOPOUTPUT_SELECT", 2, 2),
            ("BOTOUTPUT_SELECT", 2, 2),
        ):
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


def register_products(design):
    """Replace the signed products of at most 8 bits in the top of ``design`` (pyosys) whose operands and
    result are plain registers by MULT18X18D with these registers inside, named after the result; their
    number. Signals must have one name each, as after opt_clean.

    Operands are in the upper bits: lower ones are 0 without a wire, where copies of the sign would each
    need one.
    """
    from pyosys import libyosys as ys

    ident = ys.IdString
    module = design.top_module()
    bits = lambda signal: signal.to_sigbit_vector()
    cells = list(module.cells_.values())
    before, after = {}, {}  # of a register's output bit: its input and clock; of an input bit: the register
    for cell in cells:
        if cell.type.str() != "$dff" or not cell.getParam(ident("\\CLK_POLARITY")).as_int():
            continue
        clock = bits(cell.getPort(ident("\\CLK")))[0]
        for d, q in zip(bits(cell.getPort(ident("\\D"))), bits(cell.getPort(ident("\\Q")))):
            before[q] = d, clock
            after[d] = cell
    readers = {}
    for cell in cells:
        for port, signal in cell.connections_.items():
            if not cell.output(port):
                for bit in bits(signal):
                    readers[bit] = readers.get(bit, 0) + 1
    number = 0
    low = 2 * (DSP_WIDTH - WIDTH)  # the lowest bit of the product
    for cell in _products(module, ident):
        operands = [bits(cell.getPort(ident(f"\\{port}"))) for port in "AB"]
        result = bits(cell.getPort(ident("\\Y")))
        register = after.get(result[0])
        if (
            register is None
            or bits(register.getPort(ident("\\D"))) != result
            or any(readers[bit] > 1 for bit in result)
        ):
            continue
        if len(result) > 2 * WIDTH or not all(bit in before for operand in operands for bit in operand):
            continue
        clocks = {before[bit][1] for operand in operands for bit in operand} | {
            bits(register.getPort(ident("\\CLK")))[0]
        }
        if len(clocks) != 1:
            continue
        output = register.getPort(ident("\\Q"))
        block = module.addCell(ident(output.as_wire().name.str() + "_multiplier"), ident("\\MULT18X18D"))
        for name in "INPUTA", "INPUTB", "OUTPUT":
            block.setParam(ident(f"\\REG_{name}_CLK"), ys.Const("CLK0"))
        connect = lambda port, bit: block.setPort(ident(f"\\{port}"), ys.SigSpec(bit, 1))
        zero, one = (bits(ys.SigSpec(ys.Const(value, 1)))[0] for value in (0, 1))
        for port, value in (
            ("CLK0", clocks.pop()),
            ("CE0", one),
            ("RST0", zero),
            ("SIGNEDA", one),
            ("SIGNEDB", one),
            ("SOURCEA", zero),
            ("SOURCEB", zero),
        ):
            connect(port, value)
        for port, operand in zip("AB", operands):
            values = [before[bit][0] for bit in operand]
            for n, value in enumerate(
                [zero] * (DSP_WIDTH - WIDTH) + values + values[-1:] * (WIDTH - len(values))
            ):
                connect(f"{port}{n}", value)
        for n, bit in enumerate(bits(output), low):
            connect(f"P{n}", bit)
        module.remove(register)
        module.remove(cell)
        number += 1
    return number


def _products(module, ident):
    """The signed products of at most 8 bits in ``module``."""
    parameter = lambda cell, name: cell.getParam(ident(f"\\{name}")).as_int()
    return [
        cell
        for cell in module.cells_.values()
        if cell.type.str() == "$mul"
        and all(
            parameter(cell, f"{port}_SIGNED") and 1 < parameter(cell, f"{port}_WIDTH") <= WIDTH
            for port in "AB"
        )
    ]
