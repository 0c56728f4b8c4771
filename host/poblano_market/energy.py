"""Energy of a token: by what its operations and bytes cost, and by what the chip may draw."""

from dataclasses import dataclass

from poblano_flows.asic.scaling import energy_factor

from .facts import DATA, Checked, Fact, read
from .ranges import Range

__all__ = ["Energy", "TokenEnergy", "node_factor", "own_mac", "read_energy", "token_energy"]

PICO = 1e-12


class Other(Checked):
    """Bytes of SRAM for a multiply-accumulate; a byte of DRAM and of links; the power of one that waits."""

    sram_bytes_mac: Fact
    dram_pj_byte: Fact
    link_pj_byte: Fact
    idle: Fact


class Own(Checked):
    """This project's multiply-accumulates in 180 nm."""

    array: Fact
    chip: Fact


class Energy(Checked):
    """The file of energies."""

    sources: dict[str, str]
    mac_pj: dict[str, Fact]
    sram_pj_byte: dict[str, Fact]
    other: Other
    own_180_nm_pj_mac: Own


def read_energy(path=DATA / "energy.toml"):
    return read(path, Energy)


def node_factor(node):
    """What an operation of a node costs, relative to 7 nm."""
    least, most = energy_factor("7 nm"), energy_factor(node)
    return Range.around(sorted(a / b for a, b in zip(least, most)))


def own_mac(energy, node, what="array"):
    """pJ of this project's multiply-accumulate at a node: the range between the two ways of scaling."""
    measured = getattr(energy.own_180_nm_pj_mac, what).value
    ends = sorted(measured / factor for factor in energy_factor(node))
    return Range(ends[0], (ends[0] * ends[1]) ** 0.5, ends[1])


@dataclass(frozen=True)
class TokenEnergy:
    """Joules of a token, by cause; ``full`` is the package's power over its tokens."""

    arithmetic: Range
    sram: Range
    dram: Range
    links: Range
    idle: Range
    full: Range

    @property
    def sum(self):
        return self.arithmetic + self.sram + self.dram + self.links + self.idle

    @property
    def parts(self):
        return {name: getattr(self, name) for name in ("arithmetic", "sram", "dram", "links", "idle")}


def token_energy(energy, chip, compute, served):
    """Of what was :class:`~poblano_market.closed_form.Served` (by corner of the chip's range)."""
    middle = served["mid"]
    macs, logic = middle.flops_per_token / 2, node_factor(chip.node)
    speed = Range.around([served[corner].chip_tokens for corner in ("mid", "low", "high")])
    sram = energy.sram_pj_byte["1_MB"].range * energy.other.sram_bytes_mac.range
    power = chip.power_w.range
    return TokenEnergy(
        arithmetic=energy.mac_pj[chip.engine(compute)].range * logic * (macs * PICO),
        sram=sram * logic * (macs * PICO),
        dram=energy.other.dram_pj_byte.range * (middle.bytes_per_token * PICO),
        links=energy.other.link_pj_byte.range * (middle.link_bytes_per_token * PICO),
        idle=energy.other.idle.range * power / speed,
        full=power / speed,
    )
