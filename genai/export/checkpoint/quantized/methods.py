"""Which format a config.json names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from genai.errors import UnsupportedModelError, did_you_mean
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.quantized.awq import Awq
from genai.export.checkpoint.quantized.bitsandbytes import BitsAndBytes
from genai.export.checkpoint.quantized.compressed_tensors import CompressedTensors
from genai.export.checkpoint.quantized.format import Format
from genai.export.checkpoint.quantized.fp8 import Fp8, ModelOptimizer
from genai.export.checkpoint.quantized.gptq import Gptq
from genai.export.checkpoint.quantized.mxfp4 import Mxfp4
from genai.export.checkpoint.quantized.torchao import TorchAo

__all__ = ["read_format"]

_FORMATS: Mapping[str, Callable[[ModelConfig], Format]] = {
    "awq": Awq.of,
    "bitsandbytes": BitsAndBytes.of,
    "compressed-tensors": CompressedTensors.of,
    "fbgemm_fp8": Fp8.of,
    "fp8": Fp8.of,
    "gptq": Gptq.of,
    "modelopt": ModelOptimizer.of,
    "mxfp4": Mxfp4.of,
    "torchao": TorchAo.of,
}
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
            f'config.json, quantization_config: "quant_method" is "{method}", which genai does not read; it reads '
            f"{', '.join(_FORMATS)}.{did_you_mean(method, _FORMATS)} Export the checkpoint that it was quantized from"
        )
    return _FORMATS[method](settings)
