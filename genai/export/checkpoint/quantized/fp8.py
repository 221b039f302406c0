"""Matrices in 8-bit floats (e4m3) with scales by which they are multiplied: of blocks, of rows, or one for all.

DeepSeek-V3 is published with blocks (https://arxiv.org/abs/2412.19437, section 3.3), and others in its manner: beside a
tensor stands `{name}_scale_inv`. AutoFP8, FBGEMM (https://github.com/pytorch/FBGEMM) and NVIDIA's Model Optimizer write
`weight_scale`, the latter also NVFP4: `weight` uint8, `weight_scale` e4m3 and `weight_scale_2`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from genai.errors import CheckpointError, UnsupportedModelError
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.quantized.format import ADVICE, StoredModule
from genai.export.checkpoint.quantized.fp4 import NVFP4_BLOCK, fp4_rows, halves
from genai.export.checkpoint.quantized.scaled import ScaledRows
from genai.export.checkpoint.rows import Rows
from genai.export.checkpoint.tensor_files import FLOAT_DTYPES

__all__ = ["Fp8", "ModelOptimizer", "fp8_rows"]

DEFAULT_BLOCK = (128, 128)
_SCALE_TYPES = (*FLOAT_DTYPES, "F8_E8M0")
_KNOWN = (
    *("activation_scale_ub", "activation_scheme", "dequantize", "expert_dtype", "fmt", "ignored_layers"),
    *("kv_cache_scheme", "modules_to_convert", "modules_to_not_convert", "quant_method", "scale_fmt"),
    "weight_block_size",
)
_KNOWN_OF_OPTIMIZER = (
    *("config_groups", "exclude_modules", "group_size", "ignore", "kv_cache_quant_algo", "kv_cache_scheme"),
    *("producer", "quant_algo", "quant_method", "version"),
)
_OF_INPUTS = frozenset(
    {".input_scale", ".activation_scale", ".input_scale_ub", ".k_scale", ".v_scale", ".q_scale"}
)


@dataclass(frozen=True, slots=True)
class Fp8:
    """What a quantization_config of "fp8" or "fbgemm_fp8" says.

    Args:
        block: Rows and columns of a block, where scales are of blocks.
    """

    block: tuple[int, int]

    method = "fp8"
    can_be_kept = False
    markers = (("_scale_inv", ""), (".weight_scale", ".weight"))
    parts: frozenset[str] = frozenset()
    ignored = _OF_INPUTS

    @classmethod
    def of(cls, config: ModelConfig) -> Fp8:
        """Read a quantization_config."""
        config.refuse_others(_KNOWN, ADVICE)
        config.refuse("fmt", ADVICE, unless=(None, "e4m3", "float8_e4m3fn"))
        config.refuse("expert_dtype", ADVICE, unless=(None, "fp8"))
        if "weight_block_size" not in config:
            return cls(DEFAULT_BLOCK)
        size = config.integers("weight_block_size")
        if len(size) != 2 or min(size) < 1:
            raise CheckpointError(
                f'config.json: "weight_block_size" must be two whole numbers, not {list(size)}'
            )
        return cls((size[0], size[1]))

    def read(self, module: StoredModule) -> Rows:
        """Return a module's matrix."""
        if module.has(".weight_scale"):
            return fp8_rows(module, ".weight", ".weight_scale", block=self.block)
        return fp8_rows(module, "", "_scale_inv", block=self.block)


@dataclass(frozen=True, slots=True)
class ModelOptimizer:
    """What a quantization_config of NVIDIA's Model Optimizer says; which of its formats a module has, its tensors show.

    Args:
        can_be_kept: Whether it says that matrices are of NVFP4.
    """

    can_be_kept: bool

    method = "modelopt"
    markers = ((".weight_scale", ".weight"),)
    parts = frozenset({".weight_scale_2"})
    ignored = _OF_INPUTS

    @classmethod
    def of(cls, config: ModelConfig) -> ModelOptimizer:
        """Read a quantization_config."""
        config.refuse_others(_KNOWN_OF_OPTIMIZER, ADVICE)
        algorithm = config.choice("quant_algo", ("FP8", "FP8_PER_CHANNEL_PER_TOKEN", "NVFP4"))
        return cls(algorithm == "NVFP4")

    def read(self, module: StoredModule) -> Rows:
        """Return a module's matrix."""
        if not module.has(".weight_scale_2"):
            return fp8_rows(module, ".weight", ".weight_scale", block=None)
        weight = module.array(".weight", ("U8",), (None, None))
        scales = module.array(
            ".weight_scale", ("F8_E4M3",), (len(weight), 2 * weight.shape[1] // NVFP4_BLOCK)
        )
        factor = np.float32(one_number(module, ".weight_scale_2"))
        return fp4_rows(weight, scales, halves(factor), block=NVFP4_BLOCK, method="nvfp4")


def one_number(module: StoredModule, ending: str) -> float:
    """Return the only number of a part, which may have an axis."""
    return float(module.floats(ending, (1,) if module.sizes(ending) == (1,) else ()).item())


def fp8_rows(module: StoredModule, weight: str, scale: str, *, block: tuple[int, int] | None) -> Rows:
    """Return a matrix of e4m3 with a scale for all, for each row, or for each block.

    Args:
        module: The module.
        weight: The ending of the matrix's name.
        scale: The ending of the scales' name.
        block: Rows and columns of a block, if scales may be of blocks.

    Raises:
        UnsupportedModelError: It is no matrix.
        CheckpointError: A part is missing or does not fit the other.
    """
    if len(module.sizes(weight)) != 2 and module.has(weight):
        raise UnsupportedModelError(
            f'{module.tensors.file_of(f"{module.name}{weight}")}: the tensor "{module.name}{weight}" of 8-bit floats has '
            f"shape {list(module.sizes(weight))}; genai reads only matrices [outputs, inputs] of them: {ADVICE}"
        )
    numbers = module.array(weight, ("F8_E4M3",), (None, None))
    num_rows, num_columns = numbers.shape
    sizes = module.sizes(scale)
    if math.prod(sizes) == 1:
        block = (max(1, num_rows), max(1, num_columns))
    elif block is None or sizes in ((num_rows,), (num_rows, 1)):
        block = (1, max(1, num_columns))
    expected = (-(-num_rows // block[0]), -(-num_columns // block[1]))
    lacks_axes = len(sizes) < 2 and math.prod(sizes) == math.prod(expected)
    scales = module.array(scale, _SCALE_TYPES, sizes if lacks_axes else expected)
    return ScaledRows(numbers, scales.reshape(expected), block)
