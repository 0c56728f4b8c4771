"""The command ``poblano serve``: a model on the chip behind OpenAI's API."""

import socket

import typer

from poblano.config import ConfigError
from poblano_host.models import load_model

from .options import BACKEND, CAPACITY, FORMATS, MODEL_PRESET, chip_config, limited
from .tables import note

__all__ = ["serve"]


def serve(
    model: str = typer.Option("default", help="default, moe, smollm2, a .gguf file or a directory."),
    preset_name: str = MODEL_PRESET,
    backend: str = BACKEND,
    sequences: int = typer.Option(8, min=1, max=64, help="The most sequences that are served at once."),
    context: int = typer.Option(None, min=2, help="Positions of each; the model's, at most 2048."),
    pages: int = typer.Option(None, min=1, help="Pages of keys and values, of a chip with page tables."),
    waiting: int = typer.Option(256, min=1, help="The most requests that wait or run."),
    formats_: str = FORMATS,
    capacity: str = CAPACITY,
    host: str = typer.Option("127.0.0.1", help="The address to listen on."),
    port: int = typer.Option(8000, min=0, max=65535, help="The port; 0: any that is free."),
):
    """Serve a model to many at once, by OpenAI's API: /v1/chat/completions and /v1/completions."""
    try:
        from poblano_host.serve.engine import Engine
        from poblano_host.serve.limits import http_server
        from poblano_host.serve.server import create_app
        from poblano_host.serve.service import Service
    except ImportError as error:
        raise ConfigError(f"{error.name} is missing; install it with: pip install 'poblano[serve]'") from None
    place = _bind(host, port)
    loaded = limited(load_model(model), capacity)
    config = chip_config(preset_name, formats=formats_, model=loaded)
    engine = Engine(
        loaded, config, backend=backend, sequences=sequences, context=context, pages=pages, report=note
    )
    app = create_app(Service(engine, waiting=waiting), model)
    note(
        f"{loaded.config.name} on {config.name}: {engine.compiled.slots} sequences of "
        f"{engine.compiled.context} positions"
    )
    shown = f"[{host}]" if ":" in host else host
    note(f"listening on http://{shown}:{place.getsockname()[1]}")
    http_server(app, log_level="warning").run([place])


def _bind(host, port):
    """A socket at an address; ConfigError if it is taken, or none of this machine's."""
    place = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind((host, port))
    except OSError as error:
        raise ConfigError(f"can't listen on {host}, port {port}: {error.strerror}") from None
    return place
