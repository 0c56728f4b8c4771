"""A program of commands, written by hand, on RTL and golden model, as examples/README.md has it."""

import pytest

DOCUMENT = "examples/README.md"


@pytest.mark.slow
def test_program(clone):
    out = clone.follow(DOCUMENT, "Run a program")
    assert "examples/hello.asm: 3 commands on nano (golden)" in out and "0x00002000  48656c6c" in out
    assert "examples/matmul.asm: 5 commands on nano (sim) in " in out and "bit-exact" in out
    out = clone.follow(DOCUMENT, "Find a wait that was forgotten")
    assert out.count("missing wait: line 7 (tile0.vector VECTOR) reads lines 8 to 15") == 2
    assert "the result depends on the order of execution: 0x2000 holds 00 00 00 3f" in out
    assert "exit code 1\n" in out and "4 commands on nano (sim)" in out
    out = clone.follow(DOCUMENT, "A program that never ends")
    assert out.count("tile0.vector stands at line 6 (tile0.vector VECTOR), which waits for dma>=4") == 2
    assert out.count("exit code 3\n") == 2
    clone.follow(DOCUMENT, "Commands as bytes")
    text = (clone.root / "build/examples/again.asm").read_text()
    assert "activation=INT8" not in text and "sink=QUANTISE" in text
    # Someone's first program, with a mistake in it.
    (clone.root / "mine.asm").write_text("dma LOAD mem_adr=0x1000 rows=1 lines=1 tiles=1\n")
    said = clone.sh("poblano exec mine.asm --preset nano", fails=True)
    assert (
        "mine.asm: line 1: LOAD has no operand 'mem_adr' (did you mean mem_addr?); its line is: dma LOAD"
        in said
    )
