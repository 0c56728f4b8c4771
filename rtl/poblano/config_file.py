"""Configurations in TOML files: what differs from another one, field by field."""

from dataclasses import MISSING, fields, is_dataclass, replace
from fractions import Fraction
from pathlib import Path
import re
import tomllib
from types import UnionType
from typing import get_args, get_type_hints

from .config_error import FOLLOWS, ConfigError, did_you_mean

__all__ = ["config_text", "own_fields", "read_config", "toml"]

BASE = "base"
"""The key that names the configuration that a file begins from."""


def read_config(path, config_type, preset):
    """The ``config_type`` that a file describes: its ``base``, which ``preset(name)`` gives, or the defaults,
    with the fields that it sets. :class:`ConfigError` names the file and the field that is wrong."""
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text())
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    base, owner = content.pop(BASE, None), "the default"
    if base is not None:
        if not isinstance(base, str) or base.endswith(".toml"):
            raise ConfigError(f"{path}: base must be the name of a preset in quotes, not {base!r}")
        try:
            owner, base = f"{base}'s", preset(base)
        except ConfigError as error:
            raise ConfigError(f"{path}: base: {error}") from None
    return _changed(base, {"name": path.stem} | content, config_type, _Place(path, "", owner))


class _Place:
    """Where in a file: its ``path``, the ``section``, and whose the values are that it does not set."""

    def __init__(self, path, section, owner):
        self.path, self.section, self.owner = path, section, owner

    def inside(self, name):
        return _Place(self.path, self.called(name), self.owner)

    def called(self, name):
        return f"{self.section}.{name}" if self.section else name

    def error(self, message):
        return ConfigError(f"{self.path}: {message}")


def _changed(base, table, config_type, place):
    """``base`` (None: the defaults) with what a table says."""
    kinds, names = get_type_hints(config_type), [f.name for f in own_fields(config_type)]
    if not isinstance(table, dict):
        raise place.error(f"{place.section} is a section, [{place.section}], and not {table!r}")
    changes = {}
    for name, value in table.items():
        if name not in names:
            known = f"{did_you_mean(name, names)}; there are {', '.join(names)}"
            raise place.error(f"unknown field {place.called(name)}{known}")
        inner = _section(kinds[name])
        if inner is None:
            changes[name] = _value(value, kinds[name], place, name)
        elif value is False and _optional(kinds[name]):
            changes[name] = None
        else:
            before = _default(config_type, name) if base is None else getattr(base, name)
            changes[name] = _changed(before, value, inner, place.inside(name))
    try:
        if base is None:
            made = config_type(**changes)
        else:
            made = replace(base, **getattr(base, "derived", {}) | changes)
    except ValueError as error:  # ConfigError is one
        raise place.error(
            f"{place.section or 'the chip'}: {error}{_others(error, names, changes, place)}"
        ) from None
    for name, value in changes.items():
        if not is_dataclass(value) and getattr(made, name) != value and value is not None:
            given = f"{place.called(name)} can't be set to {table[name]!r}"
            raise place.error(f"{given}: it follows from other fields, and is {getattr(made, name)}")
    return made


def _others(error, names, changes, place):
    """Whose the fields are that a message names and that the file does not set."""
    words = re.findall(r"\w+", str(error))
    unset = [name for name in names if name in words and name not in changes]
    return f" ({', '.join(unset)}: {place.owner})" if unset else ""


def _default(config_type, name):
    field = next(f for f in fields(config_type) if f.name == name)
    return field.default if field.default_factory is MISSING else field.default_factory()


def _types(kind):
    return get_args(kind) if isinstance(kind, UnionType) else (kind,)


def _optional(kind):
    return type(None) in _types(kind)


def _section(kind):
    """The dataclass that a field of this type is a section of, if any; what can also be a name is none."""
    kinds = _types(kind)
    return next((k for k in kinds if is_dataclass(k) and str not in kinds), None)


def _value(value, kind, place, name):
    """A TOML value as a field of a type has it."""
    kinds = _types(kind)
    if Fraction in kinds:
        if (
            type(value) in (int, float)
            or isinstance(value, str)
            and re.fullmatch(r"\d{1,9}(/[1-9]\d{0,8})?", value)
        ):
            return Fraction(str(value))
        wanted = 'a number, or a fraction in quotes as "5/2"'
    elif tuple in kinds:
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            return tuple(value)
        wanted = 'a list of names, as ["int8", "int4"]'
    else:
        wanted = {int: "an integer", bool: "true or false", str: "a text in quotes"}[kinds[0]]
        if type(value) is kinds[0]:
            return value
    raise place.error(f"{place.called(name)} must be {wanted}, not {value!r}")


def config_text(config):
    """A file's text that describes a configuration completely, without a base."""
    return "\n".join(_lines(config, "")).lstrip("\n") + "\n"


def _lines(config, section):
    lines, inner = [], []
    for field in own_fields(config):
        value, name = getattr(config, field.name), field.name
        if is_dataclass(value):
            part = f"{section}.{name}" if section else name
            inner += ["", f"[{part}]", *_lines(value, part)]
        elif value is not None and name not in getattr(config, "derived", {}) and name not in _fixed(config):
            lines.append(f"{name} = {toml(value)}")
    return lines + inner


def own_fields(config):
    """The fields that a file may set."""
    return [field for field in fields(config) if field.metadata != FOLLOWS]


def _fixed(config):
    """The fields of a memory that its DRAM decides."""
    return ("bandwidth", "latency") if getattr(config, "dram", None) is not None else ()


def toml(value):
    """A field's value as a file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{v}"' for v in value) + "]"
    return str(value) if isinstance(value, int) else f'"{value}"'
