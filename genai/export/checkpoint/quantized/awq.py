"""AWQ (https://arxiv.org/abs/2306.00978) as AutoAWQ stores it, in its layouts "gemm" and "gemv".

Gemm: `qweight` int32 [inputs, outputs / 8] and `qzeros` int32 [groups, outputs / 8], of whose words the eight columns lie
in the order 0, 2, 4, 6, 1, 3, 5, 7; `scales` [groups, outputs]. Gemv: `qweight` [outputs, inputs / 8], `qzeros` and
`scales` [outputs, groups], padded, all in order. A weight is `(code - zero) * scale`. The reference is `dequantize_gemm`
of AutoAWQ.
"""

from __future__ import annotations

from dataclasses import dataclass

from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.quantized.format import ADVICE, StoredModule
from genai.export.checkpoint.quantized.integers import IntegerRows, coded, groups_of
from genai.export.checkpoint.quantized.views import PackedIntegers, constant_of
from genai.export.checkpoint.rows import Rows, TransposedRows

__all__ = ["Awq"]

_PLACES = (0, 4, 1, 5, 2, 6, 3, 7)  # where in a word of gemm column 0 lies, column 1, ...
_BITS, _PER_WORD = 4, 8
_DESCRIPTIVE = (
    *(
        "backend",
        "do_fuse",
        "exllama_config",
        "fuse_max_seq_len",
        "meta",
        "modules_to_fuse",
        "modules_to_not_convert",
    ),
    *("quant_method", "sym", "desc_act", "lm_head", "method", "pack_dtype", "true_sequential", "zero_point"),
)


@dataclass(frozen=True, slots=True)
class Awq:
    """What a quantization_config of AWQ says.

    Args:
        group_size: Inputs of a group; -1 is all of them.
        is_gemv: Whether the layout is "gemv".
    """

    group_size: int
    is_gemv: bool

    method = "awq"
    can_be_kept = True
    markers = ((".qweight", ".weight"),)
    parts = frozenset({".qzeros", ".scales"})
    ignored: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: ModelConfig) -> Awq:
        """Read a quantization_config."""
        config.refuse_others(
            ("bits", "format", "group_size", "q_group_size", "version", "w_bit", *_DESCRIPTIVE), ADVICE
        )
        bits = config.integer("bits", config.integer("w_bit", _BITS))
        if bits != _BITS:
            raise config.unsupported("bits", f"is {bits}; of AWQ genai reads 4: {ADVICE}")
        layout = config.string("version", config.string("format", "gemm")).lower()
        if layout not in ("gemm", "gemv"):
            raise config.unsupported("version", f'is "{layout}"; of AWQ genai reads gemm and gemv: {ADVICE}')
        group_size = config.integer("group_size", config.integer("q_group_size", 128, minimum=-1), minimum=-1)
        return cls(group_size, layout == "gemv")

    def read(self, module: StoredModule) -> Rows:
        """Return a module's matrix."""
        qweight = module.array(".qweight", ("I32",), (None, None))
        num_columns = qweight.shape[1] * _PER_WORD if self.is_gemv else len(qweight)
        num_rows = len(qweight) if self.is_gemv else qweight.shape[1] * _PER_WORD
        groups = groups_of(num_columns, self.group_size if self.group_size > 0 else max(1, num_columns))
        num_groups = int(groups[-1]) + 1 if len(groups) else 0
        codes: Rows
        zeros: Rows
        if self.is_gemv:
            qzeros = module.array(".qzeros", ("I32",), (num_rows, None))
            scales = module.floats(".scales", (num_rows, qzeros.shape[1] * _PER_WORD))
            if scales.shape[1] < num_groups:
                raise module.error(
                    ".scales", f"has {scales.shape[1]} groups, but the inputs are {num_groups}"
                )
            codes, zeros = (
                PackedIntegers(qweight, _BITS, num_columns),
                PackedIntegers(qzeros, _BITS, num_groups),
            )
        else:
            scales = module.floats(".scales", (num_groups, num_rows)).T
            qzeros = module.array(".qzeros", ("I32",), (num_groups, qweight.shape[1]))
            codes, zeros = (
                TransposedRows(PackedIntegers(a, _BITS, num_rows, _PLACES)) for a in (qweight, qzeros)
            )
        constant = constant_of(zeros)
        rows = IntegerRows(codes, scales, zeros if constant is None else constant, _BITS, groups)
        return coded(rows, method="awq")
