"""The command ``poblano chat``: a conversation with a model on the chip, in the terminal."""

from contextlib import contextmanager, suppress
import signal
import sys

import typer

from poblano_host.models import ModelError, load_model, quantise_model
from poblano_host.runtime.conversation import ContextFull, Conversation
from poblano_host.runtime.progress import Progress
from poblano_host.runtime.report import Run, summarise
from poblano_host.runtime.sampler import Sampler
from poblano_host.runtime.session import Session

from .display import Display
from .options import (
    ACTIVATIONS,
    BACKEND,
    FORMATS,
    MODEL_PRESET,
    SEED,
    TEMPERATURE,
    TOP_K,
    check_text,
    chip_config,
)
from .tables import note

__all__ = ["chat"]

ENDED = {
    "stopped": "stopped",
    "tokens": "cut off: --tokens allows no more",
    "full": "cut off: the context is full",
}
"""Words for what ends an answer before the model does."""


def chat(
    model: str = typer.Option("smollm2", help="smollm2, a .gguf file or a directory, with a chat template."),
    system: str = typer.Option(None, help="A system turn before the first."),
    tokens: int = typer.Option(256, min=1, help="The most tokens of an answer."),
    context: int = typer.Option(None, min=2, help="Positions of the KV cache; the model's, at most 2048."),
    preset_name: str = MODEL_PRESET,
    backend: str = BACKEND,
    weights: str = typer.Option(None, help="Quantise the model's matrices to this format."),
    activations: str = ACTIVATIONS,
    formats_: str = FORMATS,
    temperature: float = TEMPERATURE,
    top_k: int = TOP_K,
    seed: int = SEED,
):
    """Talk with a language model: a line is a turn, Ctrl-C stops an answer, the end of file leaves."""
    sampler = Sampler(temperature, top_k, seed)
    check_text(system or "", "the system turn")
    loaded = load_model(model)
    config = chip_config(preset_name, formats=formats_, model=loaded)
    if loaded.tokenizer.framing.template is None:
        raise ModelError(
            f"{loaded.config.name} has no chat template; `poblano run --raw` goes on from a text instead"
        )
    if weights is not None:
        loaded = quantise_model(loaded, weights, again=True)
    if context is not None:
        context = min(context, loaded.config.context)
    session = Session(loaded, config, backend=backend, context=context, activations=activations, report=note)
    talk = Conversation(session, system=system, sampler=sampler)
    if sys.stdin.isatty():
        with suppress(ImportError):
            import readline  # noqa: F401 - input() has its keys then
    for line in _lines():
        try:
            new = talk.ask(line)
        except ContextFull as error:
            note(f"{error}; a shorter turn may fit, else begin a new conversation")
            continue
        _answer(talk, session, config, new, tokens)
    session.close()


def _lines():
    """The user's turns, until the end of file."""
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            note("\nthe end of file (Ctrl-D) leaves")
            continue
        except UnicodeDecodeError as error:
            raise ModelError(f"the input is not UTF-8: {error.reason} at byte {error.start}") from None
        check_text(line, "the input")
        if line.strip():
            yield line


def _answer(talk, session, config, new, count):
    """Show the answer as it comes, and a line about it."""
    display, runs = Display(), []
    display.run = Progress(config, session.plan(new, 1))
    session.progress = display.progress
    with _stoppable(talk):
        steps = talk.answer(count)
        with display.running(text=False):
            for step, piece in steps:
                runs.append(Run.of_step(step))
                display.run.step_done(step)
                if step.best is not None:
                    print(piece, end="", flush=True)
                    break
        session.progress = lambda *arguments: None
        for step, piece in steps:
            runs.append(Run.of_step(step))
            print(piece, end="", flush=True)
    print(flush=True)
    note(_about(talk, runs, config))


def _about(talk, runs, config):
    """A line about an answer's runs."""
    decode = summarise([run for run in runs if run.phase == "decode"], config)
    prompt = sum(run.tokens for run in runs if run.phase == "prefill")
    parts = [f"{prompt} tokens read, {decode.tokens + 1} said"]
    if cycles := sum(run.result.cycles for run in runs):
        parts.append(f"{cycles:,} cycles")
    if decode.tokens_per_second:
        parts.append(f"{decode.tokens_per_second:,.1f} tokens/s at {decode.clock_mhz:g} MHz")
    if talk.ended in ENDED:
        parts.append(ENDED[talk.ended])
    return f"[{', '.join(parts)}]"


@contextmanager
def _stoppable(talk):
    """Ctrl-C stops the answer after the step that runs; a second one leaves at once."""

    def stop(number, frame):
        signal.signal(signal.SIGINT, before)
        note("\nstopping after this step")
        talk.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
