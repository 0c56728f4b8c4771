#!/usr/bin/env python3
"""The fields of a configuration and what they are in each preset: the tables of ``docs/presets.md``."""

from dataclasses import is_dataclass
import inspect
from pathlib import Path
import re

import document

from poblano.config import PRESETS, ArrayConfig, ChipConfig, MemoryConfig, TileConfig
from poblano.config_file import own_fields, toml
from poblano.dram.config import DramConfig

__all__ = ["NAME", "PAGE", "tables"]

NAME = "scripts/presets.py"
PAGE = Path(__file__).parent.parent / "docs" / "presets.md"
SECTIONS = {
    "": ChipConfig,
    "tile": TileConfig,
    "tile.array": ArrayConfig,
    "memory": MemoryConfig,
    "memory.dram": DramConfig,
}


def _text(config_type):
    """What the fields mean: a class' documentation as Markdown, its lines joined."""
    text = inspect.cleandoc(config_type.__doc__ or "")
    text = re.sub(r":\w+:`~?([^`]*\.)?([^`.]+)`", r"`\2`", text).replace("``", "`")
    return [" ".join(part.split()) for part in text.split("\n\n")]


def _of(config, section):
    for name in filter(None, section.split(".")):
        config = getattr(config, name, None)
    return config


def tables():
    """Lines of Markdown: for each section what its fields mean, and a row for each field."""
    lines = []
    for section, config_type in SECTIONS.items():
        title = f"`[{section}]`" if section else "Above all sections"
        lines += [f"### {title}", "", *(line for part in _text(config_type) for line in (part, ""))]
        lines += [
            f"| field | {' | '.join(f'`{name}`' for name in PRESETS)} |",
            f"|---|{'|'.join(['--:'] * len(PRESETS))}|",
        ]
        configs = [_of(config, section) for config in PRESETS.values()]
        for field in own_fields(config_type):
            values = [None if config is None else getattr(config, field.name) for config in configs]
            if not any(is_dataclass(value) for value in values) and field.name != "name":
                cells = (
                    "" if value is None else toml(value).strip("[]").replace('"', "") for value in values
                )
                lines.append(f"| `{field.name}` | {' | '.join(cells)} |")
        lines.append("")
    return lines[:-1]


if __name__ == "__main__":
    document.rewrite(PAGE, NAME, tables())
