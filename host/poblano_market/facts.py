"""Numbers with sources, and the TOML files that state them."""

from pathlib import Path
import tomllib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import MarketError
from .ranges import Range

__all__ = ["DATA", "Checked", "Fact", "read"]

DATA = Path(__file__).parent / "data"


class Checked(BaseModel):
    """A table of a data file: nothing in it is unknown, of another type, or changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Fact(Checked):
    """A positive number, what it is worth, and where it stands; a range where one is known or assumed."""

    value: float = Field(gt=0)
    low: float | None = Field(default=None, gt=0)
    high: float | None = Field(default=None, gt=0)
    status: Literal["confirmed", "reported", "assumed"]
    source: str

    @model_validator(mode="after")
    def _ordered(self):
        if not (self.low or self.value) <= self.value <= (self.high or self.value):
            raise ValueError(f"value {self.value:g} is outside {self.low:g} to {self.high:g}")
        return self

    @property
    def range(self):
        return Range(self.low or self.value, self.value, self.high or self.value)


def facts_in(table, place=""):
    """(place, fact) of each fact of a checked table and the tables in it."""
    if isinstance(table, Fact):
        yield place, table
    elif isinstance(table, BaseModel):
        for name in type(table).model_fields:
            yield from facts_in(getattr(table, name), f"{place}.{name}".lstrip("."))
    elif isinstance(table, dict):
        for name, value in table.items():
            yield from facts_in(value, f"{place}.{name}".lstrip("."))


def read(path, kind):
    """The ``kind`` (a :class:`Checked` table) that a TOML file states, with a source for each of its facts.
    :class:`MarketError` says in a line what is wrong with the file."""
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text())
    except UnicodeDecodeError:
        raise MarketError(f"{path}: not a text") from None
    except tomllib.TOMLDecodeError as error:
        raise MarketError(f"{path}: not TOML: {error}") from None
    try:
        table = kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        message = first["msg"].removeprefix("Value error, ")
        raise MarketError(f"{path}: {place}: {message[0].lower()}{message[1:]}") from None
    sources = getattr(table, "sources", {})
    for place, fact in facts_in(table):
        if fact.source not in sources:
            raise MarketError(f"{path}: {place}: no source {fact.source!r} in [sources]")
    return table
