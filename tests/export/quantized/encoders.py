"""Tiny checkpoints in the formats of other tools, written from the formats' descriptions with big integers and loops.

An encoder gets a float matrix [outputs, inputs] and returns the parts that its format stores, by the ending of their
names, and the matrix that they stand for. Nothing here is shared with what reads them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from tests.checkpoints import make_checkpoint

Floats = NDArray[np.float32]
Parts = dict[str, torch.Tensor]
Encoder = Callable[[Floats], tuple[Parts, Floats]]

FP4 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0]


@dataclass(frozen=True)
class Case:
    """A format, in one of its forms.

    Args:
        config: The quantization_config.
        encode: Makes parts of a matrix.
        is_kept: Whether `keep` carries the codes over.
        metadata: Makes what safetensors' header says of a module.
    """

    config: Mapping[str, Any]
    encode: Encoder
    is_kept: bool = True
    metadata: Mapping[str, str] = field(default_factory=dict)


def words(codes: NDArray[Any], bits: int) -> NDArray[np.int32]:
    """Pack every row: the first code in the lowest bits of the first word."""
    packed = []
    for row in codes.tolist():
        total = sum(int(code) << (bits * place) for place, code in enumerate(row))
        num_words = -(-len(row) * bits // 32)
        packed.append(np.frombuffer(total.to_bytes(4 * num_words, "little"), np.int32))
    return np.stack(packed)


def tensor(array: NDArray[Any], dtype: torch.dtype | None = None) -> torch.Tensor:
    found = torch.from_numpy(np.ascontiguousarray(array))
    return found if dtype is None else found.to(dtype)


def rounded(
    weight: Floats, groups: NDArray[np.int64], *, bits: int, is_symmetric: bool, scale_type: str = "float16"
) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64], Floats]:
    """Codes [outputs, inputs], scales and zeros [outputs, groups], and the matrix, one element at a time."""
    num_rows, num_columns = weight.shape
    num_groups, largest = int(groups.max()) + 1, 2**bits - 1
    rng = np.random.default_rng(num_rows * num_columns + bits)
    zeros = np.full((num_rows, num_groups), 2 ** (bits - 1))
    if not is_symmetric:
        zeros = rng.integers(2 ** (bits - 2), 3 * 2 ** (bits - 2) + 1, (num_rows, num_groups))
    scales = np.empty((num_rows, num_groups), np.float32)
    codes, matrix = np.empty(weight.shape, np.int64), np.empty_like(weight)
    for group in range(num_groups):
        inside = np.flatnonzero(groups == group)
        scale = np.abs(weight[:, inside]).max(axis=1) / 2 ** (bits - 1)
        scales[:, group] = tensor(scale).to(getattr(torch, scale_type)).float().numpy()
        for column in inside:
            code = np.round(weight[:, column] / scales[:, group]) + zeros[:, group]
            codes[:, column] = np.clip(code, 0, largest)
            matrix[:, column] = (codes[:, column] - zeros[:, group]).astype(np.float32) * scales[:, group]
    return codes, scales, zeros, matrix


def gptq(
    *,
    bits: int = 4,
    group: int = 32,
    is_symmetric: bool = True,
    version: str = "gptq",
    order: str | None = None,
) -> Case:
    def encode(weight: Floats) -> tuple[Parts, Floats]:
        num_columns = weight.shape[1]
        size = num_columns if group == -1 else group
        groups = np.arange(num_columns) // size
        if order == "act":
            groups = np.random.default_rng(5).permutation(groups)
        elif order == "unequal":
            groups = np.minimum(np.arange(num_columns) // (size - 5), num_columns // size - 1)
        codes, scales, zeros, matrix = rounded(weight, groups, bits=bits, is_symmetric=is_symmetric)
        stored = zeros.T - 1 if version == "gptq" else zeros.T
        parts = {
            ".qweight": tensor(words(codes, bits).T),
            ".qzeros": tensor(words(stored, bits)),
            ".scales": tensor(scales.T, torch.float16),
            ".g_idx": tensor(groups.astype(np.int32)),
            ".bias": torch.zeros(len(weight), dtype=torch.float16),
        }
        return parts, matrix

    config = {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": order == "act"}
    return Case(config | {"sym": is_symmetric, "checkpoint_format": version}, encode)


def auto_round(*, packing: str, bits: int = 4, is_symmetric: bool = False) -> Case:
    """The parts of GPTQ without `g_idx`."""
    version = "gptq" if packing.endswith("auto_gptq") else "gptq_v2"
    packed = gptq(bits=bits, is_symmetric=is_symmetric, version=version)

    def encode(weight: Floats) -> tuple[Parts, Floats]:
        parts, matrix = packed.encode(weight)
        del parts[".g_idx"]
        return parts, matrix

    config = {"quant_method": "auto-round", "packing_format": packing, "bits": bits, "group_size": 32}
    details = {"sym": is_symmetric, "data_type": "int", "autoround_version": "0.5.1", "iters": 200}
    return Case(config | details | {"extra_config": {"lm_head": {"bits": 16}}}, encode)


def awq(*, version: str = "gemm", group: int = 32) -> Case:
    def in_awq_order(codes: NDArray[Any]) -> NDArray[Any]:
        places = [8 * (k // 8) + (0, 2, 4, 6, 1, 3, 5, 7)[k % 8] for k in range(codes.shape[1])]
        return codes[:, places]

    def encode(weight: Floats) -> tuple[Parts, Floats]:
        groups = np.arange(weight.shape[1]) // group
        codes, scales, zeros, matrix = rounded(weight, groups, bits=4, is_symmetric=False)
        if version == "gemm":
            qweight, qzeros = (words(in_awq_order(each.T), 4) for each in (codes, zeros))
            stored = scales.T
        else:
            qweight, qzeros = words(codes, 4), words(zeros, 4)
            stored = np.pad(scales, ((0, 0), (0, 8 * qzeros.shape[1] - scales.shape[1])))
        parts = {".qweight": qweight, ".qzeros": qzeros}
        return {**{k: tensor(v) for k, v in parts.items()}, ".scales": tensor(stored, torch.float16)}, matrix

    config = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": version}
    return Case(config, encode)


def compressed(
    layout: str, weights: Mapping[str, Any], encode: Encoder, *, is_kept: bool = True, **group: Any
) -> Case:
    scheme = {"targets": ["Linear"], "weights": {"type": "int", "dynamic": False, **weights}, **group}
    config = {
        "quant_method": "compressed-tensors",
        "format": layout,
        "config_groups": {"group_0": scheme},
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
        "quantization_status": "compressed",
    }
    return Case(config, encode, is_kept)


def compressed_packed(
    *, bits: int = 4, group: int | None = 32, is_symmetric: bool = True, is_ordered: bool = False
) -> Case:
    def encode(weight: Floats) -> tuple[Parts, Floats]:
        groups = np.arange(weight.shape[1]) // (group or weight.shape[1])
        if is_ordered:
            groups = np.random.default_rng(6).permutation(groups)
        codes, scales, zeros, matrix = rounded(
            weight, groups, bits=bits, is_symmetric=is_symmetric, scale_type="bfloat16"
        )
        parts = {
            ".weight_packed": tensor(words(codes, bits)),
            ".weight_scale": tensor(scales, torch.bfloat16),
            ".weight_shape": torch.tensor(weight.shape),
        }
        if not is_symmetric:
            parts[".weight_zero_point"] = tensor(words(zeros.T, bits).T)
        if is_ordered:
            parts[".weight_g_idx"] = tensor(groups.astype(np.int32))
        return parts, matrix

    strategy = "channel" if group is None else "group"
    weights = {"num_bits": bits, "strategy": strategy, "group_size": group, "symmetric": is_symmetric}
    return compressed("pack-quantized", weights, encode)


def compressed_int8(layout: str, *, is_symmetric: bool = True) -> Case:
    def encode(weight: Floats) -> tuple[Parts, Floats]:
        groups = np.zeros(weight.shape[1], np.int64)
        codes, scales, zeros, matrix = rounded(
            weight, groups, bits=8, is_symmetric=is_symmetric, scale_type="float32"
        )
        parts = {".weight": tensor((codes - 128).astype(np.int8)), ".weight_scale": tensor(scales)}
        if not is_symmetric:
            parts[".weight_zero_point"] = tensor((zeros - 128).astype(np.int8))
        return parts | {".input_scale": torch.ones(1)}, matrix

    weights = {"num_bits": 8, "strategy": "channel", "symmetric": is_symmetric}
    inputs = {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True, "symmetric": True}
    return compressed(layout, weights, encode, input_activations=inputs)


def in_fp8(
    weight: Floats, block: tuple[int, int] | None, *, powers: bool = False
) -> tuple[torch.Tensor, torch.Tensor, Floats]:
    """Codes, scales [blocks of rows, blocks of columns] and the matrix."""
    num_rows, num_columns = weight.shape
    rows, columns = block or weight.shape
    scales = torch.empty(-(-num_rows // rows), -(-num_columns // columns))
    codes, matrix = torch.empty(weight.shape, dtype=torch.float8_e4m3fn), torch.empty(weight.shape)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            where = (slice(i * rows, (i + 1) * rows), slice(j * columns, (j + 1) * columns))
            inside = tensor(weight[where])
            scales[i, j] = inside.abs().max() / 448
            if powers:
                scales[i, j] = 2.0 ** scales[i, j].log2().ceil()
            codes[where] = (inside / scales[i, j]).to(torch.float8_e4m3fn)
            matrix[where] = codes[where].float() * scales[i, j]
    return codes, scales, matrix.numpy()


def fp8(config: Mapping[str, Any], *, per: str, ending: str = ".weight_scale", powers: bool = False) -> Case:
    def encode(weight: Floats) -> tuple[Parts, Floats]:
        block = {"tensor": None, "channel": (1, weight.shape[1]), "block": (16, 24)}[per]
        codes, scales, matrix = in_fp8(weight, block, powers=powers)
        if powers:
            scales = scales.to(torch.float8_e8m0fnu)
        if per == "tensor":
            scales = scales.reshape(())
        return {".weight": codes, ending: scales, ".input_scale": torch.ones(())}, matrix

    return Case(config, encode, is_kept=False)


def compressed_fp8(*, per: str) -> Case:
    weights = {"num_bits": 8, "type": "float", "strategy": per, "symmetric": True}
    if per == "block":
        weights["block_structure"] = [16, 24]
    case = fp8({}, per=per)
    return compressed("float-quantized", weights, case.encode, is_kept=False)


def in_fp4(weight: Floats, scales: Floats) -> tuple[torch.Tensor, Floats]:
    """Bytes and the matrix, for scales [outputs, groups]; the even number is the low half of a byte."""
    group = weight.shape[1] // scales.shape[1]
    table, codes, matrix = (
        np.asarray(FP4, np.float32),
        np.empty(weight.shape, np.int64),
        np.empty_like(weight),
    )
    for column in range(weight.shape[1]):
        scale = scales[:, column // group]
        codes[:, column] = np.abs(weight[:, column, None] / scale[:, None] - table).argmin(axis=1)
        matrix[:, column] = table[codes[:, column]] * scale
    return tensor((codes[:, 0::2] | codes[:, 1::2] << 4).astype(np.uint8)), matrix


def nvfp4(*, tool: str) -> Case:
    def encode(weight: Floats) -> tuple[Parts, Floats]:
        largest = np.abs(weight).reshape(len(weight), -1, 16).max(axis=2)
        whole = np.float32(448 * 6 / np.abs(weight).max())
        scales = tensor(largest / 6 * whole).to(torch.float8_e4m3fn)
        if tool == "modelopt":
            inverse = np.float32(1 / whole)
            packed, matrix = in_fp4(weight, scales.float().numpy() * inverse)
            return {
                ".weight": packed,
                ".weight_scale": scales,
                ".weight_scale_2": torch.tensor(inverse),
            }, matrix
        packed, matrix = in_fp4(weight, scales.float().numpy() / whole)
        parts = {
            ".weight_packed": packed,
            ".weight_scale": scales,
            ".weight_global_scale": torch.tensor([whole]),
        }
        return parts, matrix

    if tool == "modelopt":
        return Case(
            {"quant_method": "modelopt", "quant_algo": "NVFP4", "producer": {"name": "modelopt"}}, encode
        )
    weights = {
        "num_bits": 4,
        "type": "float",
        "strategy": "tensor_group",
        "group_size": 16,
        "symmetric": True,
    }
    return compressed("nvfp4-pack-quantized", weights, encode)


def compressed_mxfp4() -> Case:
    def encode(weight: Floats) -> tuple[Parts, Floats]:
        largest = np.abs(weight).reshape(len(weight), -1, 32).max(axis=2)
        exponents = np.floor(np.log2(largest)).astype(np.int32) - 2
        packed, matrix = in_fp4(weight, np.float32(2.0) ** exponents)
        return {".weight_packed": packed, ".weight_scale": tensor((exponents + 127).astype(np.uint8))}, matrix

    weights = {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32, "symmetric": True}
    return compressed("mxfp4-pack-quantized", weights, encode)


NF4 = [
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941),
    *(0.7229568362236023, 1.0),
]


def bitsandbytes_4bit(*, kind: str = "nf4", is_nested: bool = False, block: int = 64) -> Case:
    fp4 = [0, 0.0625 / 12, 8 / 12, 1, 4 / 12, 6 / 12, 2 / 12, 3 / 12]
    table = np.asarray(NF4 if kind == "nf4" else [*fp4, *(-x for x in fp4)], np.float32)

    def encode(weight: Floats) -> tuple[Parts, Floats]:
        flat = weight.reshape(-1)
        starts = range(0, len(flat), block)
        scales = np.asarray([np.abs(flat[a : a + block]).max() for a in starts], np.float32)
        state = {"quant_type": kind, "blocksize": block, "dtype": "float32", "shape": list(weight.shape)}
        parts = {".weight.absmax": tensor(scales), ".weight.quant_map": tensor(table.copy())}
        if is_nested:
            offset, wide = float(scales.mean()), np.linspace(-1, 1, 256).astype(np.float32)
            nested = [np.abs(scales[a : a + 256] - offset).max() for a in range(0, len(scales), 256)]
            nested = np.asarray(nested, np.float32)
            ratios = [(scales[i] - offset) / nested[i // 256] for i in range(len(scales))]
            codes = np.asarray([np.abs(wide - ratio).argmin() for ratio in ratios], np.uint8)
            each = np.asarray([nested[i // 256] for i in range(len(scales))], np.float32)
            scales = wide[codes] * each + np.float32(offset)
            parts[".weight.absmax"] = tensor(codes)
            parts |= {".weight.nested_absmax": tensor(nested), ".weight.nested_quant_map": tensor(wide)}
            state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": offset}
        each = np.asarray([scales[i // block] for i in range(len(flat))], np.float32)
        codes = np.abs(flat[:, None] / each[:, None] - table).argmin(axis=1)
        parts[".weight"] = tensor((codes[0::2] << 4 | codes[1::2]).astype(np.uint8)[:, None])
        content = np.frombuffer(json.dumps(state).encode(), np.uint8)
        parts[f".weight.quant_state.bitsandbytes__{kind}"] = tensor(content.copy())
        return parts, (table[codes] * each).reshape(weight.shape)

    config = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": kind}
    return Case(config | {"bnb_4bit_use_double_quant": is_nested}, encode, is_kept=False)


def bitsandbytes_8bit() -> Case:
    def encode(weight: Floats) -> tuple[Parts, Floats]:
        largest = np.abs(weight).max(axis=1)
        codes = np.round(weight / largest[:, None] * 127).astype(np.int8)
        parts = {
            ".weight": tensor(codes),
            ".SCB": tensor(largest),
            ".weight_format": torch.tensor(0, dtype=torch.uint8),
        }
        scale = largest * np.float32(7.874015718698502e-3)
        return parts, codes.astype(np.float32) * scale[:, None]

    config = {"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_threshold": 6.0}
    return Case(config, encode)


def torchao(*, kind: str = "Int8Tensor", group: int | None = None, is_symmetric: bool = True) -> Case:
    def encode(weight: Floats) -> tuple[Parts, Floats]:
        groups = np.arange(weight.shape[1]) // (group or weight.shape[1])
        if kind == "Int4Tensor":
            codes, scales, _, matrix = rounded(
                weight, groups, bits=4, is_symmetric=True, scale_type="bfloat16"
            )
            zeros = np.random.default_rng(1).normal(0, 0.01, scales.shape).astype(np.float32)
            matrix = matrix + zeros[:, groups]
            low_and_high = (codes[:, 0::2] - 8) & 15 | ((codes[:, 1::2] - 8) & 15) << 4
            return {
                "._weight_qdata": tensor(low_and_high.astype(np.uint8).view(np.int8)),
                "._weight_scale": tensor(scales.T, torch.bfloat16),
                "._weight_zero_point": tensor(zeros.T),
            }, matrix
        codes, scales, zeros, matrix = rounded(
            weight, groups, bits=8, is_symmetric=is_symmetric, scale_type="float32"
        )
        return {
            "._weight_qdata": tensor((codes - 128).astype(np.int8)),
            "._weight_scale": tensor(scales),
            "._weight_zero_point": tensor((zeros - 128).astype(np.int8)),
        }, matrix

    size = -1 if group is None else group
    config = {"quant_method": "torchao", "quant_type": {"default": {"_type": "WeightOnly"}}}
    return Case(config, encode, metadata={"_type": kind, "block": str(size)})


def bitnet(linear: str) -> Case:
    """Ternary numbers; a byte has one of each quarter of the rows, and "bitlinear" stores the scale's inverse."""

    def encode(weight: Floats) -> tuple[Parts, Floats]:
        scale = np.float32(np.abs(weight).mean())
        ternary = np.clip(np.round(weight / scale), -1, 1)
        packed = sum(
            (quarter.astype(np.int64) + 1) << 2 * i for i, quarter in enumerate(np.split(ternary, 4))
        )
        stored = scale if linear == "autobitlinear" else np.float32(1) / scale
        parts = {".weight": tensor(packed.astype(np.uint8)), ".weight_scale": torch.tensor([stored])}
        scale = stored if linear == "autobitlinear" else np.float32(1) / stored
        return parts, ternary.astype(np.float32) * scale

    return Case({"quant_method": "bitnet", "linear_class": linear, "quantization_mode": "offline"}, encode)


def bitnet_online() -> Case:
    """Floats, which transformers rounds in every product."""

    def encode(weight: Floats) -> tuple[Parts, Floats]:
        inverse = np.float32(1) / np.float32(np.abs(weight).mean())
        ternary = np.clip(np.round(weight * inverse), -1, 1)
        return {".weight": tensor(weight)}, ternary * (np.float32(1) / inverse)

    config = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"}
    return Case(config, encode)


CASES: Mapping[str, Case] = {
    "auto-round": auto_round(packing="auto_round:auto_gptq", is_symmetric=True),
    "auto-round-asymmetric": auto_round(packing="auto_round", bits=3),
    "gptq": gptq(),
    "gptq-asymmetric": gptq(is_symmetric=False),
    "gptq-v2": gptq(is_symmetric=False, version="gptq_v2"),
    "gptq-act-order": gptq(order="act"),
    "gptq-2": gptq(bits=2),
    "gptq-3": gptq(bits=3, is_symmetric=False),
    "gptq-8": gptq(bits=8),
    "gptq-8-asymmetric": gptq(bits=8, is_symmetric=False),
    "gptq-per-channel": gptq(group=-1, is_symmetric=False),
    "awq-gemm": awq(),
    "awq-gemv": awq(version="gemv"),
    "compressed-int4": compressed_packed(),
    "compressed-int4-asymmetric": compressed_packed(is_symmetric=False),
    "compressed-int4-channel": compressed_packed(group=None, is_symmetric=False),
    "compressed-int4-act-order": compressed_packed(is_ordered=True),
    "compressed-int8": compressed_packed(bits=8),
    "compressed-int3": compressed_packed(bits=3),
    "compressed-w8a8": compressed_int8("int-quantized"),
    "compressed-w8a8-asymmetric": compressed_int8("naive-quantized", is_symmetric=False),
    "compressed-fp8-tensor": compressed_fp8(per="tensor"),
    "compressed-fp8-channel": compressed_fp8(per="channel"),
    "compressed-fp8-block": compressed_fp8(per="block"),
    "compressed-nvfp4": nvfp4(tool="llm-compressor"),
    "compressed-mxfp4": compressed_mxfp4(),
    "modelopt-nvfp4": nvfp4(tool="modelopt"),
    "modelopt-fp8": fp8({"quant_method": "modelopt", "quant_algo": "FP8"}, per="tensor"),
    "fp8-tensor": fp8({"quant_method": "fp8", "activation_scheme": "static"}, per="tensor"),
    "fp8-whole-inverse": fp8(
        {"quant_method": "fp8", "weight_block_size": None}, per="tensor", ending=".weight_scale_inv"
    ),
    "fp8-powers-of-2": fp8(
        {"quant_method": "fp8", "weight_block_size": [16, 24], "scale_fmt": "ue8m0"},
        per="block",
        ending=".weight_scale_inv",
        powers=True,
    ),
    "fbgemm-fp8": fp8({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, per="channel"),
    "bitnet": bitnet("autobitlinear"),
    "bitnet-inverse": bitnet("bitlinear"),
    "bitsandbytes-nf4": bitsandbytes_4bit(),
    "bitsandbytes-fp4": bitsandbytes_4bit(kind="fp4", block=128),
    "bitsandbytes-nested": bitsandbytes_4bit(is_nested=True),
    "bitsandbytes-int8": bitsandbytes_8bit(),
    "torchao-int8": torchao(),
    "torchao-int8-asymmetric": torchao(is_symmetric=False),
    "torchao-intx": torchao(kind="IntxUnpackedToInt8Tensor", group=32),
    "torchao-int4": torchao(kind="Int4Tensor", group=32),
}


_LINEAR = ("_proj.weight", ".w1.weight", ".w2.weight", ".w3.weight")
_CONV1D = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")


@dataclass(frozen=True)
class Pair:
    """A checkpoint in a format, and the checkpoint of floats that it stands for.

    Args:
        quantized: The first.
        floats: The second.
        matrices: The decoded matrices by name.
    """

    quantized: Path
    floats: Path
    matrices: Mapping[str, Floats]


def make_pair(case: Case, folder: Path, *, family: str = "llama", **sizes: Any) -> Pair:
    """Save a tiny model in a format, but for embeddings, norms and the head, and its decoded twin."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, **sizes}
    floats = make_checkpoint(family, folder / "floats", **sizes)
    stored: dict[str, torch.Tensor] = {}
    metadata: dict[str, str] = {}
    matrices: dict[str, Floats] = {}
    tensors = load_file(floats / "model.safetensors")
    for name, value in tensors.items():
        is_conv1d = name.endswith(_CONV1D)  # of floats [inputs, outputs]
        if not is_conv1d and not name.endswith(_LINEAR):
            stored.setdefault(name, value)
            continue
        module = name.removesuffix(".weight")
        parts, matrices[name] = case.encode((value.T if is_conv1d else value).float().numpy())
        for ending, part in parts.items():
            if f"{module}{ending}" not in tensors or ending == ".weight":  # the real bias, not one of zeros
                stored[f"{module}{ending}"] = part
        decoded = matrices[name].T if is_conv1d else matrices[name]
        tensors[name] = torch.from_numpy(np.ascontiguousarray(decoded).copy())
        if case.metadata:
            size = int(case.metadata["block"])
            block = [1, value.shape[1] if size == -1 else size]
            metadata[name] = json.dumps({"_type": case.metadata["_type"], "_data": {"block_size": block}})
    quantized = folder / "quantized"
    quantized.mkdir()
    for file in floats.iterdir():
        if file.suffix != ".safetensors":
            (quantized / file.name).write_bytes(file.read_bytes())
    save_file(tensors, floats / "model.safetensors", metadata={"format": "pt"})
    save_file(stored, quantized / "model.safetensors", metadata={"format": "pt", **metadata})
    config = json.loads((floats / "config.json").read_text())
    config["quantization_config"] = dict(case.config)
    (quantized / "config.json").write_text(json.dumps(config))
    return Pair(quantized, floats, matrices)
