"""MXFP4 as gpt-oss is published: experts' matrices [outputs, inputs], stacked, as `{name}_blocks` and `{name}_scales`."""

from __future__ import annotations

from dataclasses import dataclass

from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.quantized.format import StoredModule
from genai.export.checkpoint.quantized.fp4 import MXFP4_BLOCK, fp4_rows, half_powers
from genai.export.checkpoint.rows import Experts, Rows

__all__ = ["Mxfp4"]


@dataclass(frozen=True, slots=True)
class Mxfp4:
    """Blocks uint8 [experts, outputs, blocks, 16] and exponents uint8 [experts, outputs, blocks]."""

    method = "mxfp4"
    can_be_kept = True
    markers = (("_blocks", ""),)
    parts = frozenset({"_scales"})
    ignored: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: ModelConfig) -> Mxfp4:
        """Read a quantization_config."""
        config.refuse_others(
            ("dequantize", "modules_to_not_convert", "quant_method"), "genai reads MXFP4 as gpt-oss has it"
        )
        return cls()

    def read(self, module: StoredModule) -> Rows:
        """Return the matrices of all experts, without decoding any."""
        blocks = module.array("_blocks", ("U8",), (None, None, None, MXFP4_BLOCK // 2))
        scales = module.array("_scales", ("U8",), blocks.shape[:3])
        num_experts, num_rows, num_blocks, width = blocks.shape
        packed = blocks.reshape(num_experts, num_rows, num_blocks * width)
        return Experts(
            tuple(
                fp4_rows(*parts, half_powers, block=MXFP4_BLOCK, method="mxfp4")
                for parts in zip(packed, scales, strict=True)
            )
        )
