"""The one description of what a graph wants to be fed and gives back, read off its session.

Whatever made the graph: nothing here or above asks for a maker's name. Knows nothing of slots, requests or tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from genai.cache import CacheTensor
from genai.errors import ModelFolderError
from genai.folder import DecoderConfig
from genai.graph import names
from genai.runtime.adapt import GraphFacts

__all__ = ["CachePort", "Feed", "GraphInterface"]

DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(bfloat16)": np.dtype(ml_dtypes.bfloat16),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(bool)": np.dtype(np.bool_),
}

RANKS: Mapping[str, tuple[int, ...]] = {
    names.INPUT_IDS: (2,),
    names.ATTENTION_MASK: (2,),
    names.POSITION_IDS: (2,),
    names.CACHE_POSITION: (1,),
    names.SEQLENS_K: (1, 2),
    names.TOTAL_SEQUENCE_LENGTH: (0, 1),
    names.PAST_SEQUENCE_LENGTH: (0, 1, 2),
    names.NUM_LOGITS_TO_KEEP: (0, 1),
    names.LOGIT_POSITIONS: (1,),
    names.USE_CACHE_BRANCH: (0, 1),
    names.USE_LONG_ROPE: (0, 1),
}
"""Inputs other than the cache that the runtime knows how to feed, and the numbers of axes they may have."""

NUM_SCRATCH = 4
"""Arenas of a cache that grows by concatenation: a run reads one and writes the other, steps and prompts apart."""


@dataclass(frozen=True, slots=True)
class Feed:
    """Element type and number of axes of an input."""

    dtype: np.dtype[Any]
    rank: int


@dataclass(frozen=True, slots=True)
class CachePort:
    """One tensor of the cache among the graph's inputs and outputs.

    Args:
        past: Name of the input.
        present: Name of the output.
        tensor: What the cache has to keep for it.
        axes: Its axes after the first; None is the axis of positions.
        rows_per_slot: Rows of the first axis that belong to one sequence: more than one where heads are folded into it.
        grows: Whether the output is longer than the input by the new positions (a concatenation), rather than the
            same memory with the new positions written into it.
    """

    past: str
    present: str
    tensor: CacheTensor
    axes: tuple[int | None, ...]
    rows_per_slot: int = 1
    grows: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the graph's shape is that of the cache's memory."""
        return self.shape(1, 1) == self.tensor.shape(1, 1)

    def shape(self, rows: int, positions: int) -> tuple[int, ...]:
        """Return the graph's shape for so many sequences and positions."""
        return (rows * self.rows_per_slot, *(positions if axis is None else axis for axis in self.axes))


@dataclass(frozen=True, slots=True)
class GraphInterface:
    """What a graph wants to be fed and gives back.

    Args:
        feeds: The inputs other than the cache.
        cache: The cache's inputs and outputs, layer by layer.
        logits_dtype: Element type of the logits.
        vocab_size: Number of logits per position.
        last_logits_only: Whether it gives the logits of the last position only.
        can_keep_none: Whether `num_logits_to_keep` may be 0 for none; elsewhere 0 means all.
        max_rows: Most sequences of one run; None is any number.
        max_positions: Most new tokens per sequence of one run; None is any number.
        rope_switch_length: Length beyond which `use_long_rope` has to be true for the whole of a sequence.
        gives_best_ids: Whether it gives the id of each position's greatest logit too.
        gives_logits: Whether it gives logits at all; what reads prompts alone writes the cache and nothing else.
        adapter_inputs: The inputs of its places for adapters.
    """

    feeds: dict[str, Feed]
    cache: tuple[CachePort, ...]
    logits_dtype: np.dtype[Any]
    vocab_size: int
    last_logits_only: bool = False
    can_keep_none: bool = True
    max_rows: int | None = None
    max_positions: int | None = None
    rope_switch_length: int | None = None
    gives_best_ids: bool = False
    gives_logits: bool = True
    adapter_inputs: frozenset[str] = frozenset()

    @property
    def keeps_logits(self) -> bool:
        """Whether the caller chooses how many positions reach the language-model head."""
        return bool({names.NUM_LOGITS_TO_KEEP, names.LOGIT_POSITIONS} & self.feeds.keys())

    @property
    def takes_ragged_rows(self) -> bool:
        """Whether sequences of different lengths may run together.

        Over shared buffers every row has its own length. Rows that grow are padded on the left, which the mask hides
        and of which positions that are fed know nothing; an operator with lengths of its own would not.
        """
        if {names.PAST_SEQUENCE_LENGTH, names.CACHE_POSITION} & self.feeds.keys():
            return False
        growing = [port.grows for port in self.cache if port.tensor.per_position]
        if not any(growing):
            return True
        hides_padding = {names.ATTENTION_MASK, names.POSITION_IDS} <= self.feeds.keys()
        return all(growing) and hides_padding and names.SEQLENS_K not in self.feeds

    @property
    def takes_any_rows(self) -> bool:
        """Whether any sequences may run together."""
        return self.takes_ragged_rows and self.max_rows is None and self.rope_switch_length is None

    @property
    def gathers_rows(self) -> bool:
        """Whether a run's rows are brought together from wherever their slots lie, so that those need no neighbours."""
        return all(port.grows for port in self.cache)

    @property
    def is_stable(self) -> bool:
        """Whether all shapes of a decoding step stay as they are while the rows do, so that it is bound once."""
        return names.ATTENTION_MASK not in self.feeds and not any(port.grows for port in self.cache)

    @property
    def has_changing_scalars(self) -> bool:
        """Whether a decoding step is fed a scalar that says more of its rows than how long the longest may be."""
        return bool(
            {names.PAST_SEQUENCE_LENGTH, names.USE_CACHE_BRANCH, names.USE_LONG_ROPE} & self.feeds.keys()
        )

    @classmethod
    def of_session(cls, session: Any, decoder: DecoderConfig, facts: GraphFacts) -> GraphInterface:
        """Read a session's inputs and outputs; configuration and facts say what they leave open.

        Raises:
            ModelFolderError: The graph has an input that nothing here can feed, or no cache.
        """
        inputs = {value.name: value for value in session.get_inputs()}
        outputs = {value.name: value for value in session.get_outputs()}
        feeds = {
            name: Feed(_dtype(value), len(value.shape))
            for name, value in inputs.items()
            if name in RANKS and len(value.shape) in RANKS[name]
        }
        ports = _cache_ports(inputs, outputs, feeds, decoder, facts)
        adapters = frozenset(name for name in inputs if name.startswith(names.ADAPTER_PREFIX))
        unknown = sorted(inputs.keys() - feeds.keys() - {port.past for port in ports} - adapters)
        lacks_logits = not facts.in_eight_bits and names.LOGITS not in outputs
        if unknown or not ports or lacks_logits or names.INPUT_IDS not in feeds:
            raise ModelFolderError(
                f"the graph is not a decoder with a cache that genai can feed: inputs not understood: "
                f"{', '.join(unknown) or 'none'}; cache: {len(ports)} tensors; outputs: "
                f"{', '.join(sorted(outputs)[:3])}, ...; export the checkpoint with `genai export`"
            )
        max_rows, max_positions = (_size(axis) for axis in inputs[names.INPUT_IDS].shape)
        if max_positions not in (None, 1):
            raise ModelFolderError(
                f"the graph takes exactly {max_positions} tokens at a time, and genai feeds any number or one; "
                "export the checkpoint with `genai export`"
            )
        if decoder.max_positions is not None:
            max_positions = decoder.max_positions
        logits = outputs.get(names.LOGITS)
        shape: Sequence[int | str | None] = logits.shape if logits else ()
        return cls(
            feeds=feeds,
            cache=ports,
            logits_dtype=_dtype(logits) if logits else np.dtype(np.float32),
            vocab_size=(_size(shape[-1]) if shape else None) or decoder.vocab_size,
            last_logits_only=len(shape) == 3 and _size(shape[1]) == 1 and max_positions is None,
            can_keep_none=facts.can_keep_none,
            max_rows=max_rows,
            max_positions=max_positions,
            rope_switch_length=facts.rope_switch_length,
            gives_best_ids=names.BEST_IDS in outputs,
            gives_logits=logits is not None,
            adapter_inputs=adapters,
        )


def _cache_ports(
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    feeds: Mapping[str, Feed],
    decoder: DecoderConfig,
    facts: GraphFacts,
) -> tuple[CachePort, ...]:
    """Return the pairs of a past and a present, by layer; inputs that are no such pair are left out."""
    batch = inputs[names.INPUT_IDS].shape[0] if names.INPUT_IDS in feeds else None
    ports = []
    for name in sorted(inputs.keys() - feeds.keys(), key=lambda name: (_numbers(name), name)):
        present = next((each for each in names.present_names_of(name) if each in outputs), None)
        if present is None or not _numbers(name):
            continue
        port = _cache_port(inputs[name], outputs[present], batch, decoder, is_shared=name in facts.shared)
        if port is not None:
            ports.append(port)
    return tuple(ports)


def _cache_port(
    past: Any, present: Any, batch: int | str | None, decoder: DecoderConfig, *, is_shared: bool
) -> CachePort | None:
    """Describe a pair of tensors; None if their shapes are not those of a cache."""
    if not past.shape:
        return None
    sizes = [_size(axis) for axis in past.shape[1:]]
    unknown = [index for index, size in enumerate(sizes) if size is None]
    is_key_or_value = past.name.endswith((f".{names.KEY}", f".{names.VALUE}"))
    positions = None
    if len(sizes) == 3 and 1 in unknown:  # [rows, heads, positions, width]
        positions = 1
        sizes = [sizes[0] or decoder.num_kv_heads, None, sizes[2] or decoder.head_dim]
    elif len(unknown) == 1:
        positions = unknown[0]
    elif unknown or is_key_or_value:
        return None
    folds_heads = len(sizes) == 2 and is_key_or_value and past.shape[0] != batch
    rows_per_slot = decoder.num_heads if folds_heads else 1
    known = [1 if size is None else size for size in sizes]
    at = 0 if positions is None else positions
    grows = positions is not None and not is_shared
    tensor = CacheTensor(
        outer=int(np.prod(known[:at], dtype=int)) * rows_per_slot,
        inner=int(np.prod(known[at:], dtype=int)),
        dtype=_dtype(past),
        per_position=positions is not None,
        num_scratch=NUM_SCRATCH if grows else 0,
    )
    return CachePort(past.name, present.name, tensor, tuple(sizes), rows_per_slot, grows)


def _numbers(name: str) -> Sequence[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


def _size(axis: int | str | None) -> int | None:
    """Return an axis' fixed size, None if it has none; some exporters write a fixed size as a symbol."""
    if isinstance(axis, str) and axis.isdecimal():
        return int(axis)
    return axis if isinstance(axis, int) else None


def _dtype(value: Any) -> np.dtype[Any]:
    if value.type not in DTYPES:
        raise ModelFolderError(
            f"the graph's {value.name} is a {value.type}, which genai cannot feed or read; "
            "export the checkpoint with `genai export`"
        )
    return DTYPES[value.type]
