"""What a configuration has to be."""

from difflib import get_close_matches

__all__ = ["FOLLOWS", "ConfigError", "between", "did_you_mean", "power_of_two", "require"]

FOLLOWS = {"follows": True}
"""Metadata of a field that follows from fields of the chip: a file does not have it."""


class ConfigError(ValueError):
    """A configuration that can't be built; the message quotes the value."""


def did_you_mean(name, names):
    """Words about the one of ``names`` that is nearest to the unknown ``name``; none if all are far."""
    return "".join(f" (did you mean {near}?)" for near in get_close_matches(name, names, 1))


def require(condition, message):
    """Raise :class:`ConfigError` unless ``condition``."""
    if not condition:
        raise ConfigError(message)


def between(name, value, low, high):
    """Raise :class:`ConfigError` unless ``value``, called ``name``, is a number from ``low`` to ``high``."""
    require(isinstance(value, int) and low <= value <= high, f"{name} must be {low} to {high}, not {value!r}")


def power_of_two(name, value, low=1):
    """Raise :class:`ConfigError` unless ``value``, called ``name``, is a power of two of at least ``low``."""
    require(
        isinstance(value, int) and value >= low and value & (value - 1) == 0,
        f"{name} must be a power of two of at least {low}, not {value!r}",
    )
