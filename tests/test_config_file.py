"""Presets: their files, what is refused in them, and one that can't be built."""

from dataclasses import replace
from fractions import Fraction

import document
import presets
import pytest

from poblano import config as configuration
from poblano.config import PRESETS, ArrayConfig, ChipConfig, ConfigError, MemoryConfig, TileConfig, preset
from poblano.config_file import config_text
from poblano.dram.config import DramConfig
from tests.test_cli import fails


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def read(text):
        (tmp_path / "my.toml").write_text(text)
        return preset("my.toml")

    return read


@pytest.mark.parametrize("name", PRESETS)
def test_round_trip(file, name):
    """The text of a preset describes all of it."""
    assert file(config_text(preset(name))) == preset(name)
    assert file(f'base = "{name}"\nname = "{name}"') == preset(name)


def test_changes(file):
    nano, desk = preset("nano"), preset("desk")
    assert file("") == ChipConfig(name="my")
    assert file("tiles = 3\n[tile]\ntokens = 64") == ChipConfig(
        name="my", tiles=3, tile=TileConfig(tokens=64)
    )
    # What follows from other fields follows those of the file.
    assert file('base = "desk"\n[tile]\nlanes = 16').tile.scalers == 16
    assert file('base = "tile64"\n[tile]\nlanes = 16').tile.scalers == 64
    assert file('base = "desk"\n[tile.array]\nformats = ["int8"]').formats == ("int8",)
    assert file('base = "desk"\nformats = ["int8"]').tile.array.formats == ("int8",)
    for text, value in (("7", 7), ("2.5", Fraction(5, 2)), ('"7/2"', Fraction(7, 2))):
        changed = file(f'base = "nano"\n[memory]\nbandwidth = {text}').memory
        assert changed == replace(nano.memory, bandwidth=Fraction(value))
    plain = file('base = "desk"\n[memory]\ndram = false\nlatency = 20\nbandwidth = 16').memory
    assert plain == replace(desk.memory, dram=None, latency=20, bandwidth=Fraction(16))
    slow = file('base = "desk"\n[memory.dram]\nclock_mhz = 400')
    assert slow == replace(desk, name="my").with_memory(dram=DramConfig(clock_mhz=Fraction(400)))
    dram = file('base = "tile64"\n[memory]\naddr_width = 29\ndram = {}').memory
    assert dram == MemoryConfig(addr_width=29, dram=DramConfig())


@pytest.mark.parametrize(
    "text, message",
    [
        ("tiles", "not TOML: Expected '=' after a key in a key/value pair (at end of document)"),
        ('base = "des"', "base: unknown preset 'des'; the presets are nano, ulx3s, desk"),
        ("base = 3", "base must be the name of a preset in quotes, not 3"),
        ("tile = 3", "tile is a section, [tile], and not 3"),
        ("tiels = 3", "unknown field tiels (did you mean tiles?); there are name, formats, tiles"),
        ("[tile.array]\nx = 3", "unknown field tile.array.x; there are rows, cols, formats"),
        ("tiles = 2.0", "tiles must be an integer, not 2.0"),
        ("tiles = true", "tiles must be an integer, not True"),
        ("tiles = 33", "the chip: tiles must be 1 to 32, not 33"),
        ("name = 3", "name must be a text in quotes, not 3"),
        ("clock_gates = 1", "clock_gates must be true or false, not 1"),
        ('formats = "int8"', """formats must be a list of names, as ["int8", "int4"], not 'int8'"""),
        ('formats = ["int9"]', "the chip: unknown format 'int9'; the formats are int8, int4"),
        ('[memory]\nbandwidth = "1/0"', "memory.bandwidth must be a number, or a fraction in quotes"),
        (
            "[memory]\nbandwidth = 33",
            "memory: memory bandwidth must be above 0 and at most 32 bytes per cycle",
        ),
        ("[memory]\nlatency = 0", "memory: memory latency must be at least 1 cycle, not 0"),
        (
            'base = "desk"\n[memory]\nbandwidth = 20',
            "memory.bandwidth can't be set to 20: it follows from other fields, and is 32",
        ),
        (
            'base = "desk"\n[tile.array]\ncols = 4',
            "tile: tile lanes must be at most the array's cols and 32, not 8 with 4 cols (lanes: desk's)",
        ),
        ("[memory.dram]\nkind = 'HBM9'", "memory.dram: DRAM kind must be one of HBM3-6.4"),
        (
            "[memory]\ndata_width = 64\ndram = {}",
            "memory: the DRAM has beats of 32 bytes, and a memory data_width of 64 does not: it must be 256",
        ),
    ],
)
def test_refused(file, text, message):
    with pytest.raises(ConfigError) as caught:
        file(text)
    assert str(caught.value).startswith(f"my.toml: {message}") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make, message",
    [
        # Of two fields that do not fit the one that was set is named, not one that follows from it.
        (
            lambda: TileConfig(array=ArrayConfig(rows=4, cols=4)),
            "tile lanes must be at most the array's cols and 32, not 8 with 4 cols",
        ),
        (
            lambda: TileConfig(lanes=8, scalers=4),
            "tile scalers must be a power of two from the 8 lanes to the array's 16 cols, not 4",
        ),
        (
            lambda: MemoryConfig(data_width=64, addr_width=29, dram=DramConfig()),
            "the DRAM has beats of 32 bytes, and a memory data_width of 64 does not: it must be 256",
        ),
        (
            lambda: MemoryConfig(dram=DramConfig()),
            "the DRAM has 536870912 bytes: memory addr_width must be 29, not 32",
        ),
        (
            lambda: ChipConfig(memory=MemoryConfig(data_width=512, bandwidth=Fraction(64))),
            "memory data_width must be at most 256, 32 bits for each of the tile's 8 lanes, not 512",
        ),
        (lambda: ChipConfig(tiles="2"), "tiles must be 1 to 32, not '2'"),
        (lambda: MemoryConfig(bandwidth="20"), "memory bandwidth must be above 0 and at most 32 bytes"),
    ],
)
def test_messages(make, message):
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value).startswith(message)


def test_a_wrong_preset(poblano, monkeypatch):
    """It is named with its field, and the others work."""
    makers = PRESETS._makers | dict(
        wrong=lambda: ChipConfig(tiles=0), misspelt=lambda: ChipConfig(tile=TileConfig(lane=8))
    )
    monkeypatch.setattr(configuration, "PRESETS", type(PRESETS)(**makers))
    monkeypatch.setattr("poblano_cli.presets.PRESETS", configuration.PRESETS)
    golden = "run", "--backend", "golden", "--tokens", 1
    fails(
        poblano(*golden, "--preset", "wrong"),
        "the preset 'wrong' can't be built: tiles must be 1 to 32, not 0$",
    )
    fails(poblano(*golden, "--preset", "misspelt"), "the preset 'misspelt' can't be built: .*'lane'")
    status, out, error = poblano("presets")
    assert status == 0 and "desk" in out and "wrong" not in out
    assert "the preset 'wrong' can't be built: tiles must be 1 to 32, not 0" in error
    assert poblano("presets", "nano")[:2] == (0, config_text(preset("nano")))


COMMANDS = ("run", "chat", "model", "matmul,a,b", "asic", "verilog,-o,x", "asm,a,-o,b", "exec,a")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command(poblano, tmp_path, command):
    """Each that takes a preset takes a file."""
    (tmp_path / "my.toml").write_text("tiles = 0")
    refused = poblano(*command.split(","), "--preset", tmp_path / "my.toml")
    fails(refused, "my.toml: the chip: tiles must be 1 to 32, not 0$")


def test_document_is_current():
    assert document.lines_of(presets.PAGE, presets.NAME) == presets.tables(), f"run: python {presets.NAME}"
