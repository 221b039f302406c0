"""bitsandbytes: NF4 and FP4 (QLoRA, https://arxiv.org/abs/2305.14314) and LLM.int8 (https://arxiv.org/abs/2208.07339).

4 bits: `weight` holds two numbers in a byte, the first one high, row after row; blocks of them along all rows have a
scale (`absmax`), perhaps itself of 8 bits with scales of its own (`nested_...`), and `quant_map` has the 16 numbers. What
is no tensor is JSON in `quant_state.bitsandbytes__nf4`. 8 bits: `weight` int8 and `SCB`, the largest magnitude of a row,
which 127 stands for. The references are `dequantize_4bit` and `int8_vectorwise_dequant`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from genai.errors import UnsupportedModelError
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.quantized.format import ADVICE, StoredModule
from genai.export.checkpoint.quantized.integers import IntegerRows, coded, groups_of
from genai.export.checkpoint.quantized.views import Converted, PackedIntegers, slices_of, unsigned
from genai.export.checkpoint.rows import Rows

__all__ = ["BitsAndBytes"]

Floats = NDArray[np.float32]

_STATES = (".weight.quant_state.bitsandbytes__nf4", ".weight.quant_state.bitsandbytes__fp4")
_MAX_STATE_BYTES = 1 << 16
_STORAGE_TYPES = ("U8", "I8", "BF16", "F16", "F32", "F64")
_HIGH_HALF_FIRST = (1, 0)
_INVERSE_OF_127 = np.float32(7.874015718698502e-3)  # as bitsandbytes writes it
_KNOWN = (
    *(
        "_load_in_4bit",
        "_load_in_8bit",
        "bnb_4bit_compute_dtype",
        "bnb_4bit_quant_storage",
        "bnb_4bit_quant_type",
    ),
    *(
        "bnb_4bit_use_double_quant",
        "llm_int8_enable_fp32_cpu_offload",
        "llm_int8_skip_modules",
        "llm_int8_threshold",
    ),
    *("load_in_4bit", "load_in_8bit", "quant_method"),
)


@dataclass(frozen=True, slots=True)
class BitsAndBytes:
    """What a quantization_config of bitsandbytes says.

    Args:
        can_be_kept: Whether its codes are integers of 8 bits.
    """

    can_be_kept: bool

    method = "bitsandbytes"
    markers = ((".weight.absmax", ".weight"), (".SCB", ".weight"))
    parts = frozenset(
        {".weight.quant_map", ".weight.nested_absmax", ".weight.nested_quant_map", ".weight_format", *_STATES}
    )
    ignored: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: ModelConfig) -> BitsAndBytes:
        """Read a quantization_config."""
        config.refuse_others(_KNOWN, ADVICE)
        config.refuse("llm_int8_has_fp16_weight", ADVICE)
        return cls(can_be_kept=config.flag("load_in_8bit", config.flag("_load_in_8bit", False)))

    def read(self, module: StoredModule) -> Rows:
        """Return a module's matrix."""
        return _read_int8(module) if module.has(".SCB") else _read_4bit(module)


def _read_int8(module: StoredModule) -> Rows:
    weight = module.array(".weight", ("I8",), (None, None))
    if module.has(".weight_format") and module.array(".weight_format", ("U8",), ()).item() != 0:
        raise module.error(".weight_format", f"is not 0 (rows); {ADVICE}")
    largest = module.floats(".SCB", (len(weight),))
    rows = IntegerRows(
        Converted(weight, unsigned),
        Converted(largest[:, None], lambda values: values.astype(np.float32) * _INVERSE_OF_127),
        zeros=128,
        bits=8,
        groups=groups_of(weight.shape[1], max(1, weight.shape[1])),
    )
    return coded(rows, method="bitsandbytes")


def _read_4bit(module: StoredModule) -> Rows:
    state, (num_rows, num_columns) = _state_of(module)
    block = state.integer("blocksize")
    if num_columns % 2:
        raise UnsupportedModelError(f"{num_columns} inputs do not fill whole bytes; {ADVICE}")
    stored = module.array(".weight", _STORAGE_TYPES, (None, 1))
    packed = np.ascontiguousarray(stored).view(np.uint8).reshape(-1)
    if packed.size != num_rows * num_columns // 2:
        raise module.error(
            ".weight", f"has {packed.size} bytes, but its state says {num_rows} x {num_columns}"
        )
    num_blocks = -(-num_rows * num_columns // block)
    if module.has(".weight.nested_absmax"):
        nested_block = state.integer("nested_blocksize")
        scales: Scales = _NestedScales(
            module.array(".weight.absmax", ("U8",), (num_blocks,)),
            module.floats(".weight.nested_absmax", (-(-num_blocks // nested_block),)).astype(np.float32),
            module.floats(".weight.nested_quant_map", (256,)).astype(np.float32),
            nested_block,
            np.float32(state.number("nested_offset")),
        )
    else:
        scales = module.floats(".weight.absmax", (num_blocks,))
    return _FourBitRows(
        PackedIntegers(packed.reshape(num_rows, num_columns // 2), 4, num_columns, _HIGH_HALF_FIRST),
        module.floats(".weight.quant_map", (16,)).astype(np.float32),
        scales,
        block,
    )


def _state_of(module: StoredModule) -> tuple[ModelConfig, tuple[int, int]]:
    """Return what is stored as JSON, and the matrix's shape."""
    ending = next((ending for ending in _STATES if module.has(ending)), _STATES[0])
    content = module.array(ending, ("U8",), (None,))
    try:
        values = json.loads(content[:_MAX_STATE_BYTES].tobytes())
    except (ValueError, RecursionError) as error:
        raise module.error(ending, f"is no JSON ({error})") from error
    if not isinstance(values, dict):
        raise module.error(ending, "is no JSON object")
    state = ModelConfig(values, f"{module.name}{ending}")
    shape = state.integers("shape")
    if len(shape) != 2 or min(shape) < 1:
        raise UnsupportedModelError(f"a shape of {list(shape)} is no matrix; {ADVICE}")
    return state, (shape[0], shape[1])


class Scales(Protocol):
    """Scales by block."""

    def __getitem__(self, blocks: slice, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class _NestedScales:
    """Scales of 8 bits, looked up and scaled by block, around an offset."""

    codes: NDArray[np.uint8]
    scales: Floats
    quant_map: Floats
    block: int
    offset: np.float32

    def __getitem__(self, blocks: slice) -> Floats:
        each = np.arange(len(self.codes))[blocks] // self.block
        scales: Floats = self.quant_map[self.codes[blocks]] * self.scales[each] + self.offset
        return scales


@dataclass(frozen=True, slots=True)
class _FourBitRows:
    """A matrix of looked-up numbers, scaled by blocks that may begin anywhere in a row."""

    codes: PackedIntegers
    quant_map: Floats
    scales: Scales
    block: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.codes.shape

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, key: slice | tuple[slice, ...]) -> Floats:
        rows, columns = slices_of(key)
        values = self.quant_map[self.codes[rows, columns]]
        if not values.size:
            return values
        num_rows, num_columns = self.shape
        blocks = np.arange(num_rows)[rows, None] * num_columns + np.arange(num_columns)[columns]
        blocks //= self.block
        first, last = int(blocks.min()), int(blocks.max()) + 1
        values *= np.asarray(self.scales[first:last]).astype(np.float32)[blocks - first]
        return values
