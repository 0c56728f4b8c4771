"""Public claims, each with what has to be true for it to hold, and plain remarks on some numbers."""

from dataclasses import dataclass, replace

from .closed_form import serve
from .cost import Cost
from .deployment import RESERVE, Deployment, Formats, Split
from .energy import node_factor, own_mac
from .operators import touched
from .ranges import CORNERS
from .shapes import read_shapes

__all__ = ["Claim", "claims", "remarks"]

SUBJECT, BASELINE = "jalapeno", "b200"
"""The chip that is claimed of, and the one that it is set against."""
CLAIMED_WATTS = 29
"""TFLOPS a watt, as quoted of Jalapeño; 4.7 of TPU v7 and 17 of B200."""
QUOTED = {"jalapeno": 29, "tpu-v7": 4.7, "b200": 17}


@dataclass(frozen=True)
class Claim:
    """What is said, what follows from the chips file, and what has to be true."""

    title: str
    verdict: str
    findings: list[str]

    def as_json(self):
        return {"claim": self.title, "verdict": self.verdict, "findings": self.findings}


def claims(comparison):
    """All claims that the comparison's chips file allows to be judged."""
    if not {SUBJECT, BASELINE} <= set(comparison.chips):
        return []
    found = [_watts(comparison), _memory(comparison), _throughput(comparison), _hbm(comparison)]
    if comparison.row(SUBJECT) and comparison.row(BASELINE):
        found.insert(1, _price(comparison))
    return [*found, _experts()]


def per_watt(chip, engine):
    """Peak TFLOPS a watt: the most with the least power."""
    return chip.peak_tflops[engine].range / chip.power_w.range


def _watts(comparison):
    """29 TFLOPS/W."""
    chips, energy = comparison.chips, comparison.energy
    chip, rows = chips[SUBJECT], []
    for key, quoted in QUOTED.items():
        if key not in chips:
            continue
        peaks = ", ".join(
            f"{per_watt(chips[key], engine).text()} in {engine.upper()}"
            for engine in ("fp8", "fp4")
            if engine in chips[key].peak_tflops
        )
        rows.append(f"{chips[key].name}: {quoted:g} as quoted; dense peaks over its power are {peaks}.")
    logic = energy.mac_pj["int8"].range * node_factor("3 nm")
    memory = chip.bandwidth_tb_s.range * energy.other.dram_pj_byte.range
    rows += [
        f"At {CLAIMED_WATTS} TFLOPS/W a multiply-accumulate may take {2 / CLAIMED_WATTS:.3f} pJ, with all "
        f"that surrounds it ({2 / 43:.3f} to {2 / 20:.3f} at 43 to 20).",
        f"One of 8 bits in 3 nm takes {logic.mid:.3f} pJ alone by the sources of this report; in this "
        f"project's own array, scaled, {own_mac(energy, '3 nm').text()} pJ with its registers.",
        f"Its memory alone draws {memory.text()} W at full bandwidth, of {chip.power_w.range.text()} W.",
    ]
    row = comparison.row(SUBJECT)
    if row is not None:
        done = row.utilisation * per_watt(chip, chip.engine(row.deployment.formats.compute))
        rows.append(
            f"Serving {comparison.wanted.model} it does {done.text()} TFLOPS for each watt of its rating, "
            f"because {(row.utilisation * 100).text()} % of its peak is used."
        )
    low, high = per_watt(chip, "fp8").low, per_watt(chip, "fp8").high
    verdict = f"follows from the reported ranges ({low:.0f} to {high:.0f}); nobody has measured it"
    return Claim("29 TFLOPS/W for Jalapeño", verdict, rows)


def _price(comparison):
    """Half the cost a token."""
    ours, theirs = comparison.row(SUBJECT), comparison.row(BASELINE)
    ratio = ours.costs.million / theirs.costs.million
    half = theirs.costs.million / 2
    at = lambda **changes: replace(ours.costs, **changes).million
    equal, wanted = _at_equal_efficiency(comparison), comparison.wanted
    rows = [
        f"{ours.chip.name}: {ours.cost.text()} dollars for a million tokens of {wanted.model}; "
        f"{theirs.chip.name}: {theirs.cost.text()}. With all that is most likely the ratio is {ratio:.2f}.",
        f"With the efficiency of B200 ({theirs.efficiency.mid:.2f} instead of {ours.efficiency.mid:.2f}) "
        f"Jalapeño makes {equal:,.0f} tokens a second and chip, and the ratio is "
        f"{at(tokens=equal) / 2 / half:.2f}.",
        f"It would be one half if Jalapeño made {ours.tokens.mid * at() / half:,.0f} tokens a second "
        f"and chip instead of {ours.tokens.mid:,.0f}, with all else as it is.",
    ]
    fixed = at() - at(price=1e-9)
    running = at(price=1e-9)
    if half > running:
        price = ours.costs.paid * (half - running) / fixed
        rows.append(
            f"It would also be one half at {price:,.0f} dollars a chip instead of {ours.costs.paid:,.0f} (it "
            f"costs {ours.costs.package:,.0f} to make, by this report's model)."
        )
    cheap = replace(theirs.costs, price=theirs.costs.package * ours.costs.markup)
    rows.append(
        f"With the same share for its designers, B200 would cost {cheap.paid:,.0f} dollars instead of "
        f"{theirs.costs.paid:,.0f}, and a million tokens {cheap.million:.2g}: its seller's margin alone "
        f"makes a difference of {100 * (1 - cheap.million / theirs.costs.million):.0f} %."
    )
    verdict = (
        "holds" if ratio <= 0.5 else f"does not hold with all that is most likely: {ratio:.2f} of the cost"
    )
    return Claim("cost of a token 50 % below (no baseline was disclosed; here: B200)", verdict, rows)


def _at_equal_efficiency(comparison):
    """Tokens a second of the subject if it were as efficient as the baseline."""
    ours, wanted = comparison.row(SUBJECT), comparison.wanted
    efficiency = comparison.row(BASELINE).efficiency.mid
    served = serve(ours.deployment, wanted.prompt, wanted.output, ours.batch, ours.chip.at("mid"), efficiency)
    return served.chip_tokens


def _throughput(comparison):
    """70 to 90 % utilisation against 30 to 40 %: twice the throughput at an equal peak."""
    rows = []
    for key in (SUBJECT, BASELINE):
        chip, row = comparison.chips[key], comparison.row(key)
        peak = chip.peak_tflops["fp8"].range.mid * 1e12
        ridge = peak / (chip.bandwidth_tb_s.range.mid * 1e12)
        text = (
            f"{chip.name}: {ridge:,.0f} operations in FP8 for each byte of memory until its peak is the bound"
        )
        if row is not None:
            middle = row.served["mid"]
            text += (
                f"; serving {comparison.wanted.model} with {row.batch} requests at once it has "
                f"{middle.flops_per_token / middle.bytes_per_token:,.0f}, is bound by {row.limit}, and uses "
                f"{100 * row.utilisation.mid:.0f} % of its peak"
            )
        rows.append(text + ".")
    rows.append(
        "Decoding reads all keys and values for each token, whatever the batch: no array is 70 to 90 % busy "
        "in it. The claim can hold of reading prompts, and of decoding only with short contexts and batches "
        "beyond the numbers above."
    )
    ours, theirs = comparison.row(SUBJECT), comparison.row(BASELINE)
    verdict = "would need the bandwidth that goes with it"
    if ours and theirs:
        ratio = ours.tokens.mid / theirs.tokens.mid
        equal = _at_equal_efficiency(comparison) / theirs.tokens.mid
        verdict = (
            f"does not follow from what is known: {ratio:.2f} of B200's tokens a second and chip, "
            f"{equal:.2f} with its efficiency"
        )
    return Claim("twice the effective throughput at an equal peak", verdict, rows)


def _memory(comparison):
    """144 GB just holds a 70B model."""
    shape = read_shapes()["llama-3.1-70b"]
    rows = []
    chip = comparison.chips[SUBJECT]
    for weights in ("bf16", "fp8", "fp4"):
        deployment = Deployment("llama-3.1-70b", shape, chip, Formats(weights, weights, "fp8"), Split())
        size, token = deployment.weight_bytes(), deployment.kv_bytes(1)
        left = 144e9 - size
        reserved = 144e9 * (1 - RESERVE) - size
        rows.append(
            f"Weights in {weights.upper()} are {size / 1e9:.1f} GB of 144; {left / 1e9:.1f} GB hold "
            f"{max(0, left / token):,.0f} tokens of keys and values in FP8"
            + (
                f", {reserved / token:,.0f} with {100 * RESERVE:.0f} % kept for all else."
                if reserved > 0
                else f", and none with {100 * RESERVE:.0f} % kept for all else."
            )
        )
    verdict = "true, and of no use: weights in BF16 leave no room to serve anyone; in FP8 they do"
    return Claim("144 GB just holds a 70B model in 16 bits", verdict, rows)


def _hbm(comparison):
    """HBM is 30 to 40 % of such a chip's cost."""
    rows, shares = [], []
    for key in (SUBJECT, BASELINE):
        costs = [Cost.of(comparison.cost, comparison.chips[key], 1, corner) for corner in CORNERS]
        share = [100 * cost.memory / cost.package for cost in costs]
        shares.append(share[1])
        rows.append(
            f"{comparison.chips[key].name}: {costs[1].package:,.0f} dollars to make, of which memory "
            f"{share[1]:.0f} % ({min(share):.0f} to {max(share):.0f}), silicon "
            f"{100 * costs[1].silicon / costs[1].package:.0f} %."
        )
    return Claim("HBM is 30 to 40 % of such a chip's cost", f"about: {shares[0]:.0f} %", rows)


def _experts():
    """A quarter of an array is busy with 2 experts unless tokens are sorted."""
    rows = []
    for name, count, active in (("mixtral-8x7b", 8, 2), ("gpt-oss-120b", 128, 4), ("deepseek-v3", 256, 8)):
        alone = active / count
        full = next(2**n for n in range(20) if 2**n * active / count >= 64)
        read = touched(count, active, 64)
        rows.append(
            f"{name}: unsorted, an expert has work for {100 * alone:.1f} % of the tokens that pass it; 64 "
            f"tokens read {read:.0f} of {count} experts; sorted, an array of 64 rows is full from {full:,} "
            "tokens on."
        )
    verdict = (
        "true of Mixtral (2 of 8) with unsorted tokens; false once tokens are sorted and batches are large"
    )
    return Claim("with K = 2 a quarter of an array is busy", verdict, rows)


def remarks():
    """Arithmetic that contradicts what is written."""
    macs = 128 * 128
    needed = 10e15 / 2 / 1.5e9
    return [
        f"One array of 128 x 128 is {macs:,} multiply-accumulates; 3.3 trillion operations a second of it "
        f"are {3.3e12 / 2 / macs / 1e6:.0f} MHz. At 1.5 GHz it does {2 * macs * 1.5e9 / 1e12:.0f} trillion.",
        f"10 PFLOPS at 1.5 GHz take {needed / 1e6:.1f} million multiply-accumulates: "
        f"{needed / 64**2:,.0f} arrays of 64 x 64, not 8 to 16 of them, which would do "
        f"{2 * 8 * 64**2 * 1.5e9 / 1e12:.0f} to {2 * 16 * 64**2 * 1.5e9 / 1e12:.0f} TFLOPS.",
        "20 PFLOPS of B200 are with sparsity and FP4; its dense peaks are 9 in FP4 and 4.5 in FP8.",
    ]
