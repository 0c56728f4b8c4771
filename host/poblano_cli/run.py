"""The command ``poblano run``: a language model on the chip decodes text from a prompt."""

from dataclasses import asdict

import typer

from poblano.config import ConfigError
from poblano_fpga.on_board import OnBoard
from poblano_host.compiler.conversions import conversions
from poblano_host.models import ModelError, load_model, quantise_model
from poblano_host.models.chat import chat_ids
from poblano_host.runtime.backend import open_sampled
from poblano_host.runtime.errors import Mismatch
from poblano_host.runtime.progress import Progress
from poblano_host.runtime.reliability import reliability, reliability_lines
from poblano_host.runtime.report import Run, check_report_path, summarise, use_figures, write_report
from poblano_host.runtime.sampler import Sampler
from poblano_host.runtime.session import Session
from poblano_host.runtime.timeline import write_timeline

from .display import Display, print_summaries, print_uses
from .options import (
    ACTIVATIONS,
    BACKEND,
    BANDWIDTH,
    CAPACITY,
    FORMATS,
    JSON,
    LATENCY,
    MODEL_PRESET,
    REPORT,
    SEED,
    TEMPERATURE,
    TIMELINE,
    TOP_K,
    TRACE,
    check_outputs,
    check_text,
    chip_config,
    limited,
    write_json,
    wrote,
)

__all__ = ["run"]

DEFAULT_PROMPT = "And God said unto Moses,"


def run(
    prompt: str = typer.Option(DEFAULT_PROMPT, help="The text to go on from."),
    tokens: int = typer.Option(32, min=1, help="Tokens to decode."),
    model: str = typer.Option(
        "default", help="default, moe, smollm2, a .gguf file or a directory with model.safetensors."
    ),
    preset_name: str = MODEL_PRESET,
    backend: str = BACKEND,
    check: bool = typer.Option(
        False, "--check", help="Run the golden model beside and stop at the first difference."
    ),
    weights: str = typer.Option(
        None, help="Quantise the model's matrices to this format: q8_0, q4_0, q4_1 or an MX format."
    ),
    activations: str = ACTIVATIONS,
    formats_: str = FORMATS,
    capacity: str = CAPACITY,
    raw: bool = typer.Option(False, "--raw", help="Give the prompt as it is, not as a turn of a chat."),
    temperature: float = TEMPERATURE,
    top_k: int = TOP_K,
    seed: int = SEED,
    board: str = typer.Option(
        None, help="Run on a board that holds the chip (ulx3s), at --port or with --simulate."
    ),
    port: str = typer.Option(None, help="The board's serial port, as /dev/ttyUSB0."),
    baud: int = typer.Option(None, min=1, help="Speed of the line; the board's by default."),
    simulate: bool = typer.Option(
        False, "--simulate", help="The board's RTL in simulation, at the pins of its UART."
    ),
    bandwidth: str = BANDWIDTH,
    latency: int = LATENCY,
    json_file: str = JSON,
    trace: str = TRACE,
    report: str = REPORT,
):
    """Decode text from a prompt with a language model."""
    check_text(prompt, "the prompt")
    sampler = Sampler(temperature, top_k, seed)
    if report is not None:
        check_report_path(report)
    if board is None and (port or simulate or baud):
        raise ConfigError("--port, --baud and --simulate need --board")
    if board is not None:
        if bool(port) == simulate:
            raise ConfigError("--board needs either --port or --simulate")
        if trace or report or bandwidth or latency or formats_:
            raise ConfigError(
                "a board's chip is as it is and has no timeline: --trace, --report, --bandwidth, --latency "
                "and --formats can't go with --board"
            )
        maker = OnBoard(board, port=port, baud=baud)
    else:
        maker = backend
    if backend == "golden" and (trace or report or check):
        raise ConfigError("the golden model has no cycles: --trace, --report and --check need --backend sim")
    check_outputs(json_file, trace, report)
    loaded = limited(load_model(model), capacity)
    if board is not None:
        config = maker.config
    else:
        config = chip_config(preset_name, bandwidth, latency, formats=formats_, model=loaded)
    if weights is not None:
        loaded = quantise_model(loaded, weights, again=True)
    decoding = _Decoding(loaded, config, prompt, raw)

    def write_figures(exact):
        if json_file is not None:  # what limits a run takes time to find out
            write_json(json_file, decoding.as_json("board" if board else backend, exact))

    try:
        seen = open_sampled if report and maker == "sim" else maker
        decoding.run(seen, tokens, sampler, activations, check)
    except (Mismatch, KeyboardInterrupt) as stop:
        write_figures(False if isinstance(stop, Mismatch) else None)
        raise
    write_figures(True if check else None)
    decoding.write(trace, report)
    decoding.print()
    if check:
        print("bit-exact: the golden model agrees in every token, every logit and all that was stored")


class _Decoding:
    """What comes of a prompt: the runs of the chip, tokens and text, shown as they come."""

    def __init__(self, model, config, prompt, raw):
        self.model, self.config, self.prompt = model, config, prompt
        self.ids = _prompt_ids(model, prompt, raw)
        self.conversions = conversions(model, config)
        dram = config.memory.dram
        self.display = Display(None if dram is None else dram.clock_mhz)
        self.runs, self.tokens = [], []

    def run(self, backend, count, sampler, activations, check):
        """Decode ``count`` tokens on the ``backend``; ``check``: with the golden model beside."""
        context = min(self.model.config.context, len(self.ids) + count)
        text = self.model.tokenizer.stream()
        with self.display.running() as display:
            session = Session(
                self.model,
                self.config,
                backend=backend,
                context=context,
                activations=activations,
                check=check,
                report=display.note,
                progress=display.progress,
            )
            display.run = Progress(self.config, session.plan(len(self.ids), count))
            for step, token in session.generate(self.ids, count, sampler, stop=self.model.ends):
                self.runs.append(Run.of_step(step))
                display.step(step)
                if token is not None:
                    self.tokens.append(token)
                    if token not in self.model.ends:
                        display.write(text.push(token))
            display.write(text.flush())
            session.close()

    @property
    def _rounded(self):
        return [conversion for conversion in self.conversions if conversion.rule != "exact"]

    @property
    def _rerouted(self):
        return sum(run.result.rerouted for run in self.runs)

    def _summary(self, phase):
        return summarise([run for run in self.runs if run.phase == phase], self.config)

    def as_json(self, backend, exact):
        """All figures; ``exact``: whether the golden model agrees, None if it was not asked."""
        return dict(
            model=self.model.config.name,
            preset=self.config.name,
            backend=backend,
            weights=[asdict(conversion) for conversion in self.conversions],
            prompt=self.prompt,
            prompt_tokens=len(self.ids),
            text=self.display.text,
            tokens=self.tokens,
            bit_exact=exact,
            **{phase: self._summary(phase).as_json() for phase in ("prefill", "decode")},
            reliability=reliability(self.runs),
            rerouted=self._rerouted,
            **use_figures(self.runs, self.config),
        )

    def write(self, trace, report):
        """Write the timeline and the plots, if there are paths for them."""
        if trace is not None:
            runs = [
                (f"{run.phase} {n}", run.program.commands, run.result.events, run.result.cycles)
                for n, run in enumerate(self.runs)
            ]
            write_timeline(trace, runs)
            wrote(trace, TIMELINE)
        if report is not None:
            title = f"{self.model.config.name} on {self.config.name}"
            notes = [str(conversion) for conversion in self._rounded]
            text = self.prompt + self.display.text
            write_report(report, title, self.runs, self.config, text=text, notes=notes)
            wrote(report, "the report")

    def print(self):
        """Print a table of the figures."""
        phases = ("prefill", "decode")
        print_summaries(
            f"{self.model.config.name} on {self.config.name}: {len(self.ids)} tokens of prompt, "
            f"{len(self.tokens)} decoded",
            phases,
            [self._summary(phase) for phase in phases],
        )
        print_uses(self.runs, self.config)
        for line in [*reliability_lines(self.runs), *self._rounded]:
            print(line)
        if self.model.capacity is not None:
            print(
                f"re-routed: {self._rerouted} choices of experts that had no room for a token of the prompt"
            )


def _prompt_ids(model, prompt, raw):
    """The tokens of a prompt; ModelError if it is empty or longer than the model's context."""
    if not prompt.strip():
        raise ModelError("the prompt is empty")
    if raw or model.tokenizer.framing.template is None:
        ids = model.framed(prompt)
    else:
        ids = chat_ids(model, [{"role": "user", "content": prompt}])
    if len(ids) > model.config.context:
        raise ModelError(
            f"the prompt has {len(ids)} tokens; the context of {model.config.name} is {model.config.context}"
        )
    return ids
