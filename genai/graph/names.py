"""What a decoder's inputs, outputs and derived values are called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "ADAPTER_POSITIONS",
    "ADAPTER_PREFIX",
    "ATTENTION_MASK",
    "BEST_IDS",
    "CACHE_POSITION",
    "CONV_STATE",
    "INPUT_IDS",
    "KEY",
    "LOGITS",
    "LOGIT_POSITIONS",
    "NUM_LOGITS_TO_KEEP",
    "NUM_ROTARY_POSITIONS",
    "PAST_SEQUENCE_LENGTH",
    "POSITION_IDS",
    "RECURRENT_STATE",
    "ROPE_SWITCH_LENGTH",
    "SEQLENS_K",
    "TOTAL_SEQUENCE_LENGTH",
    "USE_CACHE_BRANCH",
    "USE_LONG_ROPE",
    "VALUE",
    "LayerState",
    "adapter_mask",
    "adapter_matrices",
    "parse_past",
    "parse_present",
    "past_name",
    "present_name",
    "present_names_of",
    "present_of",
]

INPUT_IDS = "input_ids"
ATTENTION_MASK = "attention_mask"
POSITION_IDS = "position_ids"
NUM_LOGITS_TO_KEEP = "num_logits_to_keep"
LOGIT_POSITIONS = "logit_positions"
"""Which positions' logits are computed: what load-time adaptation makes of `num_logits_to_keep` for some accelerators."""

LOGITS = "logits"
BEST_IDS = "best_ids"
"""An output that load-time adaptation adds for accelerators: the id of the greatest logit of each position."""

SEQLENS_K = "seqlens_k"
TOTAL_SEQUENCE_LENGTH = "total_sequence_length"
PAST_SEQUENCE_LENGTH = "past_sequence_length"
CACHE_POSITION = "cache_position"
USE_CACHE_BRANCH = "use_cache_branch"
USE_LONG_ROPE = "use_long_rope"
"""Whether a run reads the second table of positions; load-time adaptation makes an input of the choice."""

ADAPTER_PREFIX = "adapters."
"""What the inputs that load-time adaptation adds for adapters begin with."""

ADAPTER_POSITIONS = f"{ADAPTER_PREFIX}positions"
"""The input that says at how many positions of a row adapters add: at one, where they add nothing, or at all."""

KEY, VALUE = "key", "value"
CONV_STATE, RECURRENT_STATE = "conv_state", "recurrent_state"

ROPE_SWITCH_LENGTH = "rope_switch_length"
"""The metadata of a graph, and the attribute of a folder, whose rotary table is two in one: the length beyond which a
sequence reads the second, which begins at that row."""

NUM_ROTARY_POSITIONS = "num_rotary_positions"
"""A constant, int64 of no axes: the rows of the rotary tables that a graph computes from their frequencies."""

_PAST, _PRESENT = "past_key_values", "present"
_PAST_PREFIXES = (_PAST, "past")  # the second as other exporters have it
_STATE = re.compile(rf"({_PAST}|{_PRESENT})\.(\d+)(?:\.(\w+))?")


@dataclass(frozen=True, slots=True, order=True)
class LayerState:
    """One state of one layer.

    Args:
        layer: The layer's number.
        part: What it holds: "key", "value", "conv_state", "recurrent_state"; "" for keys and values in one tensor.
    """

    layer: int
    part: str

    @property
    def past(self) -> str:
        """The input that holds it before the step."""
        return past_name(self.layer, self.part)

    @property
    def present(self) -> str:
        """The output that holds it after the step."""
        return present_name(self.layer, self.part)


def past_name(layer: int | str, part: str) -> str:
    """Return the name of the input that holds a layer's state before the step; `layer` may also be a placeholder.

    >>> past_name(3, KEY)
    'past_key_values.3.key'
    """
    return f"{_PAST}.{layer}.{part}" if part else f"{_PAST}.{layer}"


def present_name(layer: int | str, part: str) -> str:
    """Return the name of the output that holds a layer's state after the step; `layer` may also be a placeholder.

    >>> present_name(3, KEY)
    'present.3.key'
    """
    return f"{_PRESENT}.{layer}.{part}" if part else f"{_PRESENT}.{layer}"


def parse_past(name: str | None) -> LayerState | None:
    """Return the state that an input holds; None for every other name."""
    return _parse(name, _PAST)


def parse_present(name: str | None) -> LayerState | None:
    """Return the state that an output holds; None for every other name."""
    return _parse(name, _PRESENT)


def present_of(past: str) -> str:
    """Return the name of the present that belongs to a past."""
    state = parse_past(past)
    assert state is not None, f"{past} is no past"
    return state.present


def present_names_of(past: str) -> Iterator[str]:
    """Yield what the output that belongs to an input may be called, also in other exporters' manner.

    >>> list(present_names_of("past_3"))
    ['present_3']
    """
    for prefix in _PAST_PREFIXES:
        if past.startswith(prefix):
            yield past.replace(prefix, _PRESENT, 1)


def _parse(name: str | None, prefix: str) -> LayerState | None:
    match = _STATE.fullmatch(name or "")
    return LayerState(int(match[2]), match[3] or "") if match is not None and match[1] == prefix else None


def adapter_mask(number: int) -> str:
    """Return the input that leaves each row the columns of its own adapter, of products with one division of ranks."""
    return f"{ADAPTER_PREFIX}mask.{number}"


def adapter_matrices(product: str) -> tuple[str, str]:
    """Return the inputs of the two matrices that adapters have beside a product."""
    return f"{ADAPTER_PREFIX}{product}.lora_A", f"{ADAPTER_PREFIX}{product}.lora_B"
