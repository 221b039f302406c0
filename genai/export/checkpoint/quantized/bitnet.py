"""BitNet b1.58 (https://arxiv.org/abs/2402.17764): matrices of -1, 0 and 1 times one scale.

Offline: `weight` uint8 [outputs / 4, inputs] has four rows in a byte, the first quarter of the rows in the lowest bits,
and `weight_scale` one number, which transformers multiplies by where `linear_class` is "autobitlinear", and divides by
where it is "bitlinear". Online: `weight` holds floats, which are rounded whenever they are used. The reference is
transformers/integrations/bitnet.py; that products round their inputs to 8 bits there is left aside, as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai.errors import UnsupportedModelError
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.quantized.format import ADVICE, StoredModule
from genai.export.checkpoint.quantized.integers import IntegerRows, coded, groups_of
from genai.export.checkpoint.quantized.views import ComputedRows, Converted, slices_of
from genai.export.checkpoint.rows import Rows
from genai.export.checkpoint.tensor_files import FLOAT_DTYPES

__all__ = ["BitNet"]

Codes = NDArray[np.uint8]

_ROWS_IN_BYTE = 4
_ROWS_AT_ONCE = 256
_SMALLEST_MEAN = np.float32(1e-5)
_KNOWN = ("linear_class", "modules_to_not_convert", "quant_method", "quantization_mode", "rms_norm_eps")
_ROUNDED = "_proj.weight"
"""How the names of all matrices end that BitNet's architecture rounds: neither embedding nor head."""


@dataclass(frozen=True, slots=True)
class BitNet:
    """What a quantization_config of BitNet says.

    Args:
        is_online: Whether matrices are stored as floats.
        divides: Whether the stored scale is what the ternary numbers are divided by.
    """

    is_online: bool
    divides: bool

    method = "bitnet"
    can_be_kept = True
    parts: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: ModelConfig) -> BitNet:
        """Read a quantization_config."""
        config.refuse_others(_KNOWN, ADVICE)
        linear = config.choice("linear_class", ("autobitlinear", "bitlinear"), "bitlinear")
        mode = config.choice("quantization_mode", ("offline", "online"), "offline")
        is_online = mode == "online" and linear == "autobitlinear"
        if is_online:
            config.refuse("modules_to_not_convert", ADVICE, unless=(None, []))
        return cls(is_online, divides=linear == "bitlinear")

    @property
    def markers(self) -> tuple[tuple[str, str], ...]:
        """Endings of names that show a quantized matrix, and of the tensor that it stands for."""
        return ((_ROUNDED, _ROUNDED),) if self.is_online else ((".weight_scale", ".weight"),)

    def read(self, module: StoredModule) -> Rows:
        """Return a module's matrix."""
        return _rounded(module) if self.is_online else _unpacked(module, divides=self.divides)


def _unpacked(module: StoredModule, *, divides: bool) -> Rows:
    packed = module.array(".weight", ("U8",), (None, None))
    scale = np.float32(module.floats(".weight_scale", (1,)).astype(np.float32)[0])
    with np.errstate(divide="ignore"):  # infinity; whoever writes it refuses it
        scale = np.float32(1) / scale if divides else scale
    codes = _Quarters(packed)
    scales = np.full((len(codes), 1), scale, np.float32)
    return coded(_ternary(codes, scales), method="bitnet")


def _rounded(module: StoredModule) -> Rows:
    """The matrix that every product rounds anew: to multiples of its mean magnitude."""
    if "BitNetForCausalLM" not in module.tensors.config.get("architectures", ()):
        raise UnsupportedModelError(
            'config.json, quantization_config: "quantization_mode" is "online", which is known of BitNetForCausalLM alone: '
            f"{ADVICE}"
        )
    weight = module.array(_ROUNDED, FLOAT_DTYPES, (None, None))

    @cache
    def inverse() -> np.float32:
        return np.float32(1) / max(_mean_magnitude(weight), _SMALLEST_MEAN)

    def codes(values: NDArray[Any]) -> Codes:
        return (np.clip(np.round(values.astype(np.float32) * inverse()), -1, 1) + 1).astype(np.uint8)

    def scales(rows: slice) -> NDArray[np.float32]:
        return np.full((len(range(*rows.indices(len(weight)))), 1), np.float32(1) / inverse(), np.float32)

    scale_rows = ComputedRows((len(weight), 1), scales)
    return coded(_ternary(Converted(weight, codes), scale_rows), method="bitnet")


def _ternary(codes: Rows, scales: Rows) -> IntegerRows:
    """A matrix of codes 0, 1 and 2 with one scale."""
    num_columns = codes.shape[1]
    return IntegerRows(codes, scales, zeros=1, bits=2, groups=groups_of(num_columns, max(1, num_columns)))


def _mean_magnitude(weight: NDArray[Any]) -> np.float32:
    starts = range(0, len(weight), _ROWS_AT_ONCE)
    sums = [np.abs(weight[a : a + _ROWS_AT_ONCE].astype(np.float64)).sum() for a in starts]
    return np.float32(sum(sums) / max(1, weight.size))


@dataclass(frozen=True, slots=True)
class _Quarters:
    """Integers of 2 bits, four rows in a byte: row r in bits 2 (r // quarter) and up of the packed row r % quarter.

    Args:
        packed: uint8 [rows / 4, columns].
    """

    packed: NDArray[np.uint8]

    @property
    def shape(self) -> tuple[int, int]:
        """Its shape."""
        return (_ROWS_IN_BYTE * self.packed.shape[0], self.packed.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | tuple[slice, ...]) -> Codes:
        rows, columns = slices_of(key)
        quarter, place = np.divmod(np.arange(len(self))[rows], max(1, len(self.packed)))
        packed: Codes = self.packed[place][:, columns]
        return packed >> (2 * quarter).astype(np.uint8)[:, None] & np.uint8(3)
