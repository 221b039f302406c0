"""compressed-tensors (https://github.com/vllm-project/compressed-tensors), which LLM Compressor and vLLM's models use.

A matrix is `weight_packed` (int32: integers of 1 to 8 bits plus half their range, back to back along the inputs; uint8:
two numbers of FP4) or `weight` (int8 or e4m3), with `weight_scale` of the whole, of rows, of groups or of blocks, and
`weight_zero_point` (int8, or packed along the outputs) where it is asymmetric. A weight is `(code - zero) * scale`. What
a module has, its tensors show; the config's groups only tell what to expect. How inputs and the cache of keys and values
are quantized is left aside: both are computed as everywhere here. The references are its `decompress` methods.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genai.export.checkpoint.checkpoint import Array
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.quantized.format import ADVICE, StoredModule
from genai.export.checkpoint.quantized.fp4 import MXFP4_BLOCK, NVFP4_BLOCK, fp4_rows, half_powers, halves
from genai.export.checkpoint.quantized.fp8 import fp8_rows, one_number
from genai.export.checkpoint.quantized.integers import IntegerRows, coded, groups_of
from genai.export.checkpoint.quantized.views import Converted, PackedIntegers, constant_of, unsigned
from genai.export.checkpoint.rows import Rows, TransposedRows

__all__ = ["CompressedTensors"]

_FORMATS = (
    *("float-quantized", "int-quantized", "mixed-precision", "mxfp4-pack-quantized", "naive-quantized"),
    *("nvfp4-pack-quantized", "pack-quantized"),
)
_KNOWN = (
    *("config_groups", "dequantize", "format", "global_compression_ratio", "ignore", "kv_cache_scheme"),
    *(
        "quant_method",
        "quantization_status",
        "run_compressed",
        "sparsity_config",
        "use_optimized_inference",
        "version",
    ),
)
_KNOWN_OF_GROUP = ("format", "input_activations", "output_activations", "targets", "weights")
_KNOWN_OF_WEIGHTS = (
    *("actorder", "block_structure", "dynamic", "group_size", "num_bits", "observer", "observer_kwargs"),
    *("scale_dtype", "strategy", "symmetric", "type", "zp_dtype"),
)
_SCALE, _ZERO, _PACKED, _SHAPE = ".weight_scale", ".weight_zero_point", ".weight_packed", ".weight_shape"


@dataclass(frozen=True, slots=True)
class CompressedTensors:
    """What a quantization_config of compressed-tensors says.

    Args:
        can_be_kept: Whether any group has codes that are integers, or numbers of FP4.
        bits: Bits of a code that a group has.
        group_sizes: Inputs of a group of codes that a group has.
        block: Rows and columns of a block of 8-bit floats, if a group has such.
    """

    can_be_kept: bool
    bits: tuple[int, ...]
    group_sizes: tuple[int, ...]
    block: tuple[int, int] | None

    method = "compressed-tensors"
    markers = ((_SCALE, ".weight"),)
    parts = frozenset({_PACKED, _SHAPE, _ZERO, ".weight_g_idx", ".weight_global_scale"})
    ignored = frozenset(
        f".{of}_{what}"
        for of in ("input", "output", "k", "v", "q")
        for what in ("scale", "zero_point", "global_scale")
    )

    @classmethod
    def of(cls, config: ModelConfig) -> CompressedTensors:
        """Read a quantization_config."""
        config.refuse_others(_KNOWN, ADVICE)
        config.choice("format", _FORMATS)
        config.choice("quantization_status", ("compressed",), "compressed")
        sparsity = config.part("sparsity_config").string("format", "dense")
        if sparsity != "dense":
            raise config.unsupported("sparsity_config", f'has the format "{sparsity}": {ADVICE}')
        groups = config.part("config_groups")
        groups.refuse_others(groups.part_names(), ADVICE)
        weights = [
            _weights_of(groups.part(name)) for name in groups.part_names() if "weights" in groups.part(name)
        ]
        blocks = {each.integers("block_structure") for each in weights if "block_structure" in each}
        if len(blocks) > 1 or any(len(block) != 2 or min(block) < 1 for block in blocks):
            raise config.unsupported("config_groups", f"has blocks of {sorted(blocks)}: {ADVICE}")
        block = next(iter(blocks), None)
        return cls(
            any(each.string("type", "int") == "int" or each.integer("num_bits", 8) == 4 for each in weights),
            tuple(sorted({each.integer("num_bits", 8) for each in weights})),
            tuple(sorted({each.integer("group_size", -1, minimum=-1) for each in weights})),
            None if block is None else (block[0], block[1]),
        )

    def read(self, module: StoredModule) -> Rows:
        """Return a module's matrix."""
        if not module.has(_PACKED):
            stored = module.array(".weight", ("I8", "F8_E4M3"), (None, None))
            if stored.dtype != np.int8:
                return fp8_rows(module, ".weight", _SCALE, block=self.block)
            return self._integers(module, Converted(stored, unsigned), bits=8)
        packed = module.array(_PACKED, ("I32", "U8"), (None, None))
        if packed.dtype == np.uint8:
            return _fp4(module, packed)
        shape = tuple(int(n) for n in module.array(_SHAPE, ("I64", "I32"), (2,)))
        words = packed.shape[1]
        bits = next((n for n in self.bits if n <= 8 and -(-shape[1] * n // 32) == words), None)
        if shape[0] != len(packed) or bits is None or shape[1] < 1:
            raise module.error(
                _PACKED,
                f"has shape {list(packed.shape)}, which holds no matrix of shape {list(shape)} with "
                f"{' or '.join(map(str, self.bits))} bits",
            )
        return self._integers(module, PackedIntegers(packed, bits, shape[1]), bits=bits)

    def _integers(self, module: StoredModule, codes: Rows, *, bits: int) -> Rows:
        num_rows, num_columns = codes.shape
        sizes = module.sizes(_SCALE)
        num_groups = sizes[1] if len(sizes) == 2 else 1
        size = next(
            (n for n in self.group_sizes if n > 0 and -(-num_columns // n) == num_groups), num_columns
        )
        if num_groups != -(-num_columns // max(1, size)):
            raise module.error(_SCALE, f"has shape {list(sizes)}, which does not fit {num_columns} inputs")
        groups = groups_of(num_columns, max(1, size))
        if module.has(".weight_g_idx"):
            groups = module.array(".weight_g_idx", ("I32", "I64"), (num_columns,)).astype(np.int64)
            if not 0 <= groups.min() <= groups.max() < num_groups:
                raise module.error(
                    ".weight_g_idx",
                    f"does not fit: inputs are of groups {groups.min()} to {groups.max()}, and there are {num_groups}",
                )
        scales = _of_rows(module, _SCALE, module.floats(_SCALE, sizes), num_rows)
        rows = IntegerRows(codes, scales, _zeros(module, scales.shape, bits), bits, groups)
        return coded(rows, method="compressed-tensors")


def _weights_of(group: ModelConfig) -> ModelConfig:
    """Return how a group's weights are quantized.

    Raises:
        UnsupportedModelError: Something about it is unknown.
    """
    group.refuse_others(_KNOWN_OF_GROUP, ADVICE)
    if "format" in group:
        group.choice("format", _FORMATS)
    weights = group.part("weights")
    weights.refuse_others(_KNOWN_OF_WEIGHTS, ADVICE)
    weights.refuse("dynamic", ADVICE)
    weights.choice("type", ("int", "float"), "int")
    weights.choice("strategy", ("tensor", "channel", "group", "block", "tensor_group"), "tensor")
    return weights


def _fp4(module: StoredModule, packed: Array) -> Rows:
    num_rows, num_columns = len(packed), 2 * packed.shape[1]
    if not module.has(".weight_global_scale"):
        scales = module.array(_SCALE, ("U8", "F8_E8M0"), (num_rows, num_columns // MXFP4_BLOCK))
        return fp4_rows(packed, scales, half_powers, block=MXFP4_BLOCK, method="mxfp4")
    scales = module.array(_SCALE, ("F8_E4M3",), (num_rows, num_columns // NVFP4_BLOCK))
    divisor = np.float32(one_number(module, ".weight_global_scale"))
    if divisor == 0:
        raise module.error(".weight_global_scale", "is 0")
    return fp4_rows(packed, scales, halves(divisor, divides=True), block=NVFP4_BLOCK, method="nvfp4")


def _of_rows(module: StoredModule, ending: str, values: Array, num_rows: int) -> Array:
    """Return what is stored for the whole, for rows or for groups as [rows, groups]."""
    if values.size == 1:
        return np.broadcast_to(values.reshape(1, 1), (num_rows, 1))
    if len(values) != num_rows or values.ndim > 2:
        raise module.error(ending, f"has shape {list(values.shape)}, but the matrix has {num_rows} rows")
    return values.reshape(num_rows, -1)


def _zeros(module: StoredModule, shape: tuple[int, ...], bits: int) -> Rows | int:
    """Return the codes of 0, of groups or one for all."""
    middle = 1 << (bits - 1)
    if not module.has(_ZERO):
        return middle
    num_rows, num_groups = shape
    zeros: Rows
    if module.tensors.dtype_of(f"{module.name}{_ZERO}") == "I32":
        packed = module.array(_ZERO, ("I32",), (-(-num_rows * bits // 32), num_groups))
        zeros = TransposedRows(PackedIntegers(packed.T, bits, num_rows))
    else:
        stored = module.array(_ZERO, ("I8",), module.sizes(_ZERO))
        zeros = Converted(
            _of_rows(module, _ZERO, stored, num_rows), lambda values: values.view(np.uint8) + np.uint8(middle)
        )
        if zeros.shape[1] != num_groups:
            raise module.error(_ZERO, f"has {zeros.shape[1]} groups, but there are {num_groups} scales")
    constant = constant_of(zeros)
    return zeros if constant is None else constant
