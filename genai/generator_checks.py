"""Checks of what a `Generator` is made with, before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from genai.config.checks import Flag, Integer
from genai.errors import OptionError

__all__ = ["check_bools", "check_nothing_to_choose", "device_ids"]


def check_nothing_to_choose(**choices: str | None) -> None:
    """See that nothing chooses a model folder where one is given."""
    for name, value in choices.items():
        if value is not None:
            raise OptionError(
                f"{name} chooses a model folder, and the model is one already: leave {name} out"
            )


def check_bools(**options: object) -> None:
    """See that these are truth values."""
    for name, value in options.items():
        Flag()(name, value)


def device_ids(device_id: int, devices: Sequence[int] | None) -> Sequence[int]:
    """Return the devices to load the model on."""
    if devices is None:
        return [Integer(0)("device_id", device_id)]
    if device_id:
        raise OptionError("device_id names one device and devices several: give one of them")
    numbers = list(devices) if isinstance(devices, Sequence) and not isinstance(devices, str) else []
    if not numbers or not all(map(_is_number, numbers)) or len(set(numbers)) < len(numbers):
        raise OptionError(
            f"devices must be a list of different device numbers, such as [0, 1], not {devices!r}"
        )
    return numbers


def _is_number(device: object) -> bool:
    return isinstance(device, int) and not isinstance(device, bool) and device >= 0
