"""Hsiao's codes: the columns, numpy's decoder on all flips, and the gates against numpy."""

from itertools import combinations

from amaranth.sim import Simulator
import numpy as np
import pytest

from formal.ecc import PROPERTIES, USED
from poblano.ecc.decoder import ECCDecoder
from poblano.ecc.encoder import ECCEncoder
from poblano.ecc.hsiao import HsiaoCode

WIDTHS = (1, 4, 11, 16, *USED, 72, 128, 512)


@pytest.mark.parametrize("data", WIDTHS)
def test_columns(data):
    """What the code's docstring says of them; no two flips look like one."""
    code = HsiaoCode(data)
    columns = [*code.columns, *(1 << check for check in range(code.checks))]
    assert len(set(columns)) == code.bits
    assert all(column.bit_count() % 2 == 1 for column in columns)
    assert all(column.bit_count() >= 3 for column in code.columns)
    assert all(a ^ b not in columns for a, b in combinations(columns, 2))
    assert list(map(int.bit_count, code.columns)) == sorted(map(int.bit_count, code.columns))
    ones = (np.array(code.columns)[:, None] >> np.arange(code.checks) & 1).sum(0)
    assert ones.max() - ones.min() <= 3


@pytest.mark.parametrize(
    "data,checks", [(1, 3), (4, 4), (8, 5), (11, 5), (16, 6), (26, 6), (32, 7), (57, 7), (64, 8), (256, 10)]
)
def test_checks(data, checks):
    """The sizes of Hsiao's paper: (39, 32), (72, 64) and so on."""
    assert HsiaoCode(data).checks == checks


@pytest.mark.parametrize("data", [8, 16, 32, 64])
def test_all_flips(data):
    """Every flip of one bit and of two, of random words."""
    code, rng = HsiaoCode(data), np.random.default_rng(data)
    pairs = [(), *combinations(range(code.bits), 1), *combinations(range(code.bits), 2)]
    words = rng.integers(0, 2, (len(pairs), data)).astype(bool)
    read = np.concatenate([words, code.encode(words)], axis=1)
    for row, pair in zip(read, pairs, strict=True):
        row[list(pair)] ^= True
    flips = np.array([len(pair) for pair in pairs])
    decoded, corrected, failed = code.decode(read[:, :data], read[:, data:])
    assert (decoded == words)[flips < 2].all()
    assert (corrected == (flips == 1)).all()
    assert (failed == (flips == 2)).all()


def as_integers(bits):
    return [sum(1 << n for n in np.flatnonzero(row).tolist()) for row in bits]


@pytest.mark.parametrize("data", [11, 32, 258])
def test_gates(data):
    """Encoder and decoder give numpy's bits, whatever word and check bits they are given."""
    code, rng = HsiaoCode(data), np.random.default_rng(data)
    words = rng.integers(0, 2, (300, data)).astype(bool)
    checks = code.encode(words)
    read = np.concatenate([words, checks], axis=1)
    for row in read:
        row[rng.integers(0, code.bits, rng.integers(0, 5))] ^= True
    expected = code.decode(read[:, :data], read[:, data:])
    encoder, decoder = ECCEncoder(code), ECCDecoder(code)

    async def bench_encoder(ctx):
        for word, check in zip(as_integers(words), as_integers(checks), strict=True):
            ctx.set(encoder.data, word)
            await ctx.delay(1e-9)
            assert ctx.get(encoder.checks) == check

    async def bench_decoder(ctx):
        wanted = zip(as_integers(expected[0]), expected[1].tolist(), expected[2].tolist(), strict=True)
        for row, want in zip(read, wanted, strict=True):
            ctx.set(decoder.data, as_integers([row[:data]])[0])
            ctx.set(decoder.checks, as_integers([row[data:]])[0])
            await ctx.delay(1e-9)
            assert (ctx.get(decoder.o), ctx.get(decoder.corrected), ctx.get(decoder.failed)) == want

    for dut, bench in ((encoder, bench_encoder), (decoder, bench_decoder)):
        simulator = Simulator(dut)
        simulator.add_testbench(bench)
        simulator.run()


def test_proofs():
    """Widths of which a solver proves only the gates are among those whose columns are tried here."""
    proved = {int(prop.name.split("-")[1]) for prop in PROPERTIES if prop.name.startswith("columns")}
    assert proved <= set(WIDTHS)


def test_refused():
    with pytest.raises(ValueError, match="at least one bit, not 0"):
        HsiaoCode(0)
