"""torchao (https://github.com/pytorch/ao), as it lays its tensors out in safetensors.

A `weight` is `_weight_qdata`, `_weight_scale` and perhaps `_weight_zero_point`; which of its tensor classes they make,
JSON in the file's header says (torchao.prototype.safetensors). Read are those whose weights are integers in a plain
layout: `(code - zero) * scale` of Int8Tensor and IntxUnpackedToInt8Tensor, int8 [outputs, inputs] in blocks, and
`code * scale + zero` of Int4Tensor, two in a byte, the first one low, with scales [groups, outputs].
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from genai.errors import UnsupportedModelError
from genai.export.checkpoint.checkpoint import Array
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.quantized.format import ADVICE, StoredModule
from genai.export.checkpoint.quantized.integers import IntegerRows, coded, groups_of
from genai.export.checkpoint.quantized.views import Converted, PackedIntegers, constant_of, unsigned
from genai.export.checkpoint.rows import Rows

__all__ = ["TorchAo"]

_DATA, _SCALE, _ZERO = "._weight_qdata", "._weight_scale", "._weight_zero_point"


@dataclass(frozen=True, slots=True)
class TorchAo:
    """Everything but `quant_method` and which modules are left out, the files say themselves."""

    method = "torchao"
    can_be_kept = True
    markers = ((_DATA, ".weight"),)
    parts = frozenset({_SCALE, _ZERO})
    ignored: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: ModelConfig) -> TorchAo:
        """Read a quantization_config."""
        config.refuse_others(
            (
                *("include_input_output_embeddings", "modules_to_not_convert", "quant_method", "quant_type"),
                *("quant_type_kwargs", "untie_embedding_weights"),
            ),
            ADVICE,
        )
        return cls()

    def read(self, module: StoredModule) -> Rows:
        """Return a module's matrix."""
        kind, (block_rows, block_columns) = _described(module)
        if kind == "Int4Tensor":
            return _read_int4(module, block_columns)
        data = module.array(_DATA, ("I8",), (None, None))
        num_rows, num_columns = data.shape
        if num_rows % block_rows or num_columns % block_columns or block_rows not in (1, num_rows):
            raise UnsupportedModelError(
                f"blocks of {block_rows} x {block_columns} of a matrix {num_rows} x {num_columns}: {ADVICE}"
            )
        sizes = (num_rows // block_rows, num_columns // block_columns)
        scale: Rows = _repeated(module.floats(_SCALE, sizes), num_rows)
        zeros: Rows | int = 128
        if module.has(_ZERO):
            stored = Converted(_repeated(module.array(_ZERO, ("I8",), sizes), num_rows), unsigned)
            constant = constant_of(stored)
            zeros = stored if constant is None else constant
        rows = IntegerRows(Converted(data, unsigned), scale, zeros, 8, groups_of(num_columns, block_columns))
        return coded(rows, method="torchao")


def _read_int4(module: StoredModule, group_size: int) -> Rows:
    data = module.array(_DATA, ("I8", "U8"), (None, None))
    num_rows, num_columns = len(data), 2 * data.shape[1]
    sizes = (-(-num_columns // group_size), num_rows)
    signed = PackedIntegers(data.view("u1"), 4, num_columns)
    rows = IntegerRows(
        Converted(signed, lambda codes: codes ^ 8),
        module.floats(_SCALE, sizes).T,
        zeros=8,
        bits=4,
        groups=groups_of(num_columns, group_size),
        offsets=module.floats(_ZERO, sizes).T,
    )
    return coded(rows, method="torchao")


def _described(module: StoredModule) -> tuple[str, tuple[int, int]]:
    """Return the class of a module's tensor and the rows and columns of its blocks.

    Raises:
        UnsupportedModelError: It is of another class, or the file does not say.
    """
    try:
        values = json.loads(module.tensors.metadata[f"{module.name}.weight"])
    except (KeyError, ValueError, RecursionError) as error:
        raise UnsupportedModelError(
            f"the file's header does not say which tensor of torchao it is: {ADVICE}"
        ) from error
    described = ModelConfig(values if isinstance(values, dict) else {}, f'"{module.name}.weight"')
    kind = described.choice("_type", ("Int4Tensor", "Int8Tensor", "IntxUnpackedToInt8Tensor"))
    block = described.part("_data").integers("block_size")
    if len(block) != 2 or min(block) < 1 or (kind == "Int4Tensor" and block[0] != 1):
        raise UnsupportedModelError(f"blocks of {list(block)}: {ADVICE}")
    if module.has("._weight_act_pre_scale"):
        raise UnsupportedModelError(f"its inputs are scaled first (act_pre_scale): {ADVICE}")
    return kind, (block[0], block[1])


def _repeated(values: Array, num_rows: int) -> Array:
    """Return scales of every row; those of a whole matrix are the same for all."""
    return np.broadcast_to(values, (num_rows, values.shape[1])) if len(values) == 1 else values
