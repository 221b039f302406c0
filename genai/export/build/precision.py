"""What a precision means in a graph: the float type of activations and how weights are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import onnx_ir as ir

from genai.errors import OptionError, did_you_mean
from genai.quantize import BlockScheme

__all__ = ["PRECISIONS", "Precision"]

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int4")

_FLOAT_TYPES = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}
_BITS = {"int8": 8, "int4": 4}


@dataclass(frozen=True, slots=True)
class Precision:
    """A precision by name, and what follows from it.

    Args:
        name: One of `PRECISIONS`.
        float_type: Type of activations, norms, rotary tables and unquantized weights.
        scheme: How matrices are quantized; `None` if they are not.
    """

    name: str
    float_type: ir.DataType
    scheme: BlockScheme | None

    @classmethod
    def named(cls, name: str, *, block_size: int = 32) -> Self:
        """Return the precision of this name.

        Raises:
            OptionError: The name or the block size is unknown.
        """
        if name not in PRECISIONS:
            raise OptionError(
                f'precision must be one of {", ".join(PRECISIONS)}, not "{name}".{did_you_mean(name, PRECISIONS)}'
            )
        scheme = BlockScheme(_BITS[name], block_size) if name in _BITS else None
        return cls(name, _FLOAT_TYPES.get(name, ir.DataType.FLOAT), scheme)
