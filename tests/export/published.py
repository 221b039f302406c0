"""Reading of published config.json files without any weights: what transformers makes of them, and what genai does."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.core_model_loading import revert_weight_conversion

from genai.export.architecture import DecoderSpec
from genai.export.checkpoint.checkpoint import Array
from genai.export.checkpoint.tensor_files import TensorFiles
from genai.export.families import find_family

__all__ = ["ShapesOnly", "as_transformers", "read_spec", "stored_shapes"]


_SCALES = "_scale_inv"
_NOT_IN_FP8 = ("embed_tokens.weight", "lm_head.weight", "mlp.gate.weight", "weights_proj.weight")
_INDEXER = ".indexer."  # DeepSeek-V3.2's, which has no part in sequences of which it chooses all tokens


class ShapesOnly(TensorFiles):
    """A checkpoint whose tensors have the right shapes and hold only zeros, which take no memory."""

    def __init__(self, path: Path, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__(path, config, {})
        self._shapes = shapes

    def __getitem__(self, name: str) -> Array:
        return np.broadcast_to(np.zeros((), np.float32), self._shapes[name])

    def raw(self, name: str) -> Array:
        dtype = np.float32 if self.dtype_of(name) == "F32" else np.uint8
        return np.broadcast_to(np.zeros((), dtype), self._shapes[name])

    def dtype_of(self, name: str) -> str:
        if name.endswith(_SCALES):
            return "F32"
        return "F8_E4M3" if f"{name}{_SCALES}" in self._shapes else "U8"

    def __iter__(self):
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __contains__(self, name: object) -> bool:
        return name in self._shapes

    def file_of(self, name: str) -> Path:
        return self.path / "model.safetensors"


def as_transformers(config: Mapping[str, Any]) -> transformers.PretrainedConfig:
    with warnings.catch_warnings():  # of keys of an older form, which some of its classes do not expect
        warnings.simplefilter("ignore", FutureWarning)
        return transformers.CONFIG_MAPPING[config["model_type"]].from_dict(json.loads(json.dumps(config)))


def read_spec(config: Mapping[str, Any]) -> DecoderSpec:
    spec, _ = find_family(config["architectures"][0]).read(config)
    return spec.limited_to(spec.max_positions)


def stored_shapes(config: Mapping[str, Any]) -> tuple[dict[str, tuple[int, ...]], int]:
    """The tensors of transformers' text model as they are saved, and how many numbers those with a part in it are."""
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(as_transformers(config).get_text_config())
    saved, parameters = model.state_dict(), dict(model.named_parameters())
    parameters |= {name: buffer for name, buffer in model.named_buffers() if name in saved}
    shapes = {name: tuple(t.shape) for name, t in revert_weight_conversion(model, parameters).items()}
    method = config.get("quantization_config", {}).get("quant_method")
    if method in _QUANTIZED:
        shapes = _QUANTIZED[method](shapes)
    return shapes, sum(p.numel() for name, p in parameters.items() if _INDEXER not in name)


def _in_fp8(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The shapes with a scale for each block of 128 x 128 of every matrix but embeddings, heads and routers."""
    blocks = {
        f"{name}{_SCALES}": (-(-shape[0] // 128), -(-shape[1] // 128))
        for name, shape in shapes.items()
        if len(shape) == 2 and not name.endswith(_NOT_IN_FP8)
    }
    return {**shapes, **blocks}


def _in_mxfp4(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The shapes with the experts' matrices, [experts, columns, rows], in blocks of 32 columns."""
    packed = dict(shapes)
    for name in shapes:
        if name.endswith(("gate_up_proj", "down_proj")):
            num_experts, num_columns, num_rows = packed.pop(name)
            packed[f"{name}_blocks"] = (num_experts, num_rows, num_columns // 32, 16)
            packed[f"{name}_scales"] = (num_experts, num_rows, num_columns // 32)
    return packed


_QUANTIZED = {"fp8": _in_fp8, "mxfp4": _in_mxfp4}
