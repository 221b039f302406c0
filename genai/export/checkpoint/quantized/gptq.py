"""GPTQ (https://arxiv.org/abs/2210.17323) as AutoGPTQ and GPTQModel store it.

Of a module: `qweight` int32 [inputs * bits / 32, outputs], packed along the inputs; `scales` [groups, outputs]; `qzeros`
int32 [groups, outputs * bits / 32], packed along the outputs; `g_idx` [inputs], each input's group. A weight is
`(code - zero) * scale`. In the format "gptq" the zeros are stored less 1, in "gptq_v2" as they are. The reference is
`BaseQuantLinear.dequantize_weight` of GPTQModel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.quantized.format import ADVICE, StoredModule
from genai.export.checkpoint.quantized.integers import IntegerRows, coded, groups_of
from genai.export.checkpoint.quantized.views import Converted, PackedIntegers, constant_of
from genai.export.checkpoint.rows import Rows, TransposedRows

__all__ = ["GPTQ_BITS", "Gptq"]

GPTQ_BITS = (2, 3, 4, 8)
# How it was made, or how others would run it. What modules have instead ("dynamic") their tensors show.
_DESCRIPTIVE = (
    *(
        "act_group_aware",
        "backend",
        "batch_size",
        "block_name_to_quantize",
        "cache_block_outputs",
        "damp_percent",
    ),
    *(
        "damp_auto_increment",
        "dataset",
        "desc_act",
        "disable_exllama",
        "dynamic",
        "exllama_config",
        "lm_head",
    ),
    *("max_input_length", "meta", "method", "model_file_base_name", "model_name_or_path", "model_seqlen"),
    *(
        "module_name_preceding_first_block",
        "modules_in_block_to_quantize",
        "mse",
        "pad_token_id",
        "quant_method",
    ),
    *("static_groups", "sym", "tokenizer", "true_sequential", "use_cuda_fp16", "use_exllama"),
)


@dataclass(frozen=True, slots=True)
class Gptq:
    """What a quantization_config of GPTQ says.

    Args:
        bits: Bits of a code; a module's tensors may show others.
        group_size: Inputs of a group, where no `g_idx` tells; -1 is all of them.
        zero_offset: What is to be added to stored zeros.
        is_ordered: Whether groups are no neighbours, so that `g_idx` must tell them.
    """

    bits: int
    group_size: int
    zero_offset: int
    is_ordered: bool

    method = "gptq"
    can_be_kept = True
    markers = ((".qweight", ".weight"),)
    parts = frozenset({".qzeros", ".scales", ".g_idx"})
    ignored: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: ModelConfig) -> Gptq:
        """Read a quantization_config."""
        config.refuse_others(
            ("bits", "checkpoint_format", "desc_act", "format", "group_size", "pack_dtype", *_DESCRIPTIVE),
            ADVICE,
        )
        config.refuse("pack_dtype", ADVICE, unless=(None, "int32"))
        version = config.string("checkpoint_format", config.string("format", "gptq"))
        if version not in ("gptq", "gptq_v2"):
            raise config.unsupported(
                "checkpoint_format", f'is "{version}"; genai reads gptq and gptq_v2: {ADVICE}'
            )
        bits = config.integer("bits")
        if bits not in GPTQ_BITS:
            raise config.unsupported(
                "bits", f"is {bits}; of GPTQ genai reads {', '.join(map(str, GPTQ_BITS))}: {ADVICE}"
            )
        return cls(
            bits,
            config.integer("group_size", -1, minimum=-1),
            int(version == "gptq"),
            config.flag("desc_act", False),
        )

    def read(self, module: StoredModule) -> Rows:
        """Return a module's matrix."""
        qweight = module.array(".qweight", ("I32",), (None, None))
        num_rows = qweight.shape[1]
        scales = module.floats(".scales", (None, num_rows))
        qzeros = module.array(".qzeros", ("I32",), (len(scales), None))
        bits = next((n for n in (self.bits, *GPTQ_BITS) if -(-num_rows * n // 32) == qzeros.shape[1]), None)
        if bits is None or len(qweight) * 32 % bits:
            raise module.error(
                ".qzeros", f"has shape {list(qzeros.shape)}, which no number of bits gives {num_rows} outputs"
            )
        mask = np.uint8((1 << bits) - 1)
        offset = np.uint8(self.zero_offset)
        zeros = TransposedRows(
            Converted(PackedIntegers(qzeros, bits, num_rows), lambda stored: (stored + offset) & mask)
        )
        constant = constant_of(zeros)
        rows = IntegerRows(
            PackedIntegers(qweight.T, bits, len(qweight) * 32 // bits),
            scales.T,
            zeros=zeros if constant is None else constant,
            bits=bits,
            groups=self._groups(module, len(qweight) * 32 // bits, len(scales)),
        )
        return coded(rows, method="gptq")

    def _groups(self, module: StoredModule, num_columns: int, num_groups: int) -> NDArray[np.int64]:
        if not module.has(".g_idx") and not self.is_ordered:
            groups = groups_of(num_columns, self.group_size if self.group_size > 0 else num_columns)
            part = ".scales"
        else:
            stored: NDArray[Any] = module.array(".g_idx", ("I32", "I64"), (num_columns,))
            groups, part = stored.astype(np.int64), ".g_idx"
        if groups.size and not 0 <= groups.min() <= groups.max() < num_groups:
            raise module.error(
                part,
                f"does not fit: inputs are of groups {groups.min()} to {groups.max()}, and there are {num_groups}",
            )
        return groups
