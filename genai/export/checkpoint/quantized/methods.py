"""Which format a config.json names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from genai.errors import UnsupportedModelError, did_you_mean
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.quantized.auto_round import read_auto_round
from genai.export.checkpoint.quantized.awq import Awq
from genai.export.checkpoint.quantized.bitnet import BitNet
from genai.export.checkpoint.quantized.bitsandbytes import BitsAndBytes
from genai.export.checkpoint.quantized.compressed_tensors import CompressedTensors
from genai.export.checkpoint.quantized.format import Format
from genai.export.checkpoint.quantized.fp8 import Fp8, ModelOptimizer
from genai.export.checkpoint.quantized.gptq import Gptq
from genai.export.checkpoint.quantized.mxfp4 import Mxfp4
from genai.export.checkpoint.quantized.torchao import TorchAo

__all__ = ["read_format"]

_FORMATS: Mapping[str, Callable[[ModelConfig], Format]] = {
    "auto-round": read_auto_round,
    "awq": Awq.of,
    "bitnet": BitNet.of,
    "bitsandbytes": BitsAndBytes.of,
    "compressed-tensors": CompressedTensors.of,
    "fbgemm_fp8": Fp8.of,
    "fp8": Fp8.of,
    "gptq": Gptq.of,
    "modelopt": ModelOptimizer.of,
    "mxfp4": Mxfp4.of,
    "torchao": TorchAo.of,
}
_UNREAD: Mapping[str, str] = {
    "aqlm": "AQLM adds vectors of codebooks",
    "eetq": "EETQ stores int8 in the order of a CUDA kernel",
    "exl2": "EXL2 mixes widths in an order of ExLlamaV2's kernels",
    "exl3": "EXL3 codes a trellis of rotated weights",
    "fp_quant": "FP-Quant rotates what its products read",
    "higgs": "HIGGS looks vectors of rotated weights up in a grid",
    "hqq": "HQQ's zero points are no whole codes (genai export --quantize hqq makes ones that are)",
    "quanto": "Quanto's tensors are stored as its own classes",
    "quark": "Quark has several layouts of its own",
    "quip": "QuIP# looks vectors of rotated weights up in a lattice",
    "sinq": "SINQ scales rows and columns",
    "spqr": "SpQR keeps outliers apart, in a sparse matrix",
    "vptq": "VPTQ looks vectors up in codebooks",
}
"""Methods that are known and not read, with the reason."""

_PLACES = ("quantization_config", "compression_config")


def read_format(config: Mapping[str, Any]) -> Format | None:
    """Return how a checkpoint's matrices are quantized, as its config.json tells; `None` if they are not.

    Raises:
        UnsupportedModelError: The method, or something about it, is not supported.
        CheckpointError: A value is missing or malformed.
    """
    outer = ModelConfig(config)
    found = [part.part(key) for part in (outer, outer.part("text_config")) for key in _PLACES if key in part]
    if not found:
        return None
    settings = found[0]
    is_unnamed_bitsandbytes = "load_in_4bit" in settings or "load_in_8bit" in settings
    method = settings.string("quant_method", "bitsandbytes" if is_unnamed_bitsandbytes else None)
    if method not in _FORMATS:
        raise UnsupportedModelError(
            f'config.json, quantization_config: "quant_method" is "{method}", which genai does not read'
            f"{f': {_UNREAD[method]}' if method in _UNREAD else ''}; it reads {', '.join(_FORMATS)}."
            f"{did_you_mean(method, _FORMATS)} Export the checkpoint that it was quantized from, or one in a format that "
            "is read"
        )
    return _FORMATS[method](settings)
