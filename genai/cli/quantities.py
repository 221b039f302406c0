"""Sizes and times as people type them, with or without a unit."""

from __future__ import annotations

import math
import re

import typer

__all__ = ["parse_bytes", "parse_seconds"]

_SIZES = {"": 1, "b": 1} | {
    unit: base**power
    for power, letter in enumerate("kmgt", 1)
    for unit, base in ((f"{letter}b", 1000), (f"{letter}ib", 1024))
}
_TIMES = {"": 1, "s": 1, "m": 60, "h": 3600}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([A-Za-z]*)")


def parse_bytes(text: str) -> int:
    """Return how many bytes a text says.

    >>> parse_bytes("1000"), parse_bytes("2GB"), parse_bytes("1.5 GiB")
    (1000, 2000000000, 1610612736)

    Raises:
        typer.BadParameter: It says none, or none at all.
    """
    number = math.floor(
        _quantity(text, _SIZES, "a number of bytes, as 2000000000, or one of KB, MB, GB, GiB, as 2GB")
    )
    if number < 1:
        raise typer.BadParameter(f'"{text}" is less than 1 byte')
    return number


def parse_seconds(text: str) -> float:
    """Return how many seconds a text says.

    >>> parse_seconds("0"), parse_seconds("5m"), parse_seconds("1.5 h")
    (0.0, 300.0, 5400.0)

    Raises:
        typer.BadParameter: It says none.
    """
    return _quantity(text, _TIMES, "seconds, as 300, or a time in s, m or h, as 5m")


def _quantity(text: str, units: dict[str, int], form: str) -> float:
    found = _QUANTITY.fullmatch(text.strip())
    if found is None or found[2].lower() not in units:
        raise typer.BadParameter(f'"{text}" is not {form}')
    return float(found[1]) * units[found[2].lower()]
