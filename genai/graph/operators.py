"""The operators whose operands have to be told apart by position: ONNX Runtime's own, and those that look rows up.

Operands, outputs and attributes are called as in ONNX Runtime's schemas (docs/ContribOperators.md there), which a test
compares them with. Operands and attributes that nothing here writes or reads, at a schema's end, are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from genai.graph.opset import MICROSOFT, ONNX, ONNX_DOMAINS

__all__ = [
    "CAUSAL_CONV_WITH_STATE",
    "FUSED_MATMUL",
    "GATHER",
    "GATHER_BLOCK_QUANTIZED",
    "GROUP_QUERY_ATTENTION",
    "LINEAR_ATTENTION",
    "MATMUL_NBITS",
    "MOE",
    "ONNX_ROTARY_EMBEDDING",
    "OPERATORS",
    "QMOE",
    "QUICK_GELU",
    "ROTARY_EMBEDDING",
    "SHARING_OPERATORS",
    "SKIP_LAYER_NORM",
    "SKIP_RMS_NORM",
    "SPARSE_ATTENTION",
    "Operator",
    "find_operator",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator's signature.

    Args:
        op_type: Its name.
        operands: Its inputs, in order.
        outputs: Its outputs, in order.
        attributes: Those that a graph of ours may have.
        domain: Whose it is.
    """

    op_type: str
    operands: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[str, ...] = ()
    domain: str = MICROSOFT

    def index(self, operand: str) -> int:
        """Return an operand's position among a node's inputs."""
        return self.operands.index(operand)

    def find(self, operand: str, inputs: Sequence[T]) -> T | None:
        """Return a node's operand out of its inputs; None where the node has none."""
        place = self.index(operand)
        # A protobuf has an empty name for an operand that is left out.
        return inputs[place] or None if place < len(inputs) else None

    def arrange(self, **operands: T | None) -> list[T | None]:
        """Return operands by name as a node's inputs, with None for what is left out."""
        unknown = operands.keys() - set(self.operands)
        assert not unknown, f"{self.op_type} has no operand {', '.join(unknown)}"
        inputs = [operands.get(name) for name in self.operands]
        while inputs and inputs[-1] is None:
            inputs.pop()
        return inputs

    def is_type_of(self, domain: str, op_type: str) -> bool:
        """Whether a node of this domain and type is one."""
        return op_type == self.op_type and (ONNX if domain in ONNX_DOMAINS else domain) == self.domain


_CACHED = ("query", "key", "value", "past_key", "past_value")
_PRESENTS = ("output", "present_key", "present_value")

GROUP_QUERY_ATTENTION = Operator(
    "GroupQueryAttention",
    (
        *_CACHED,
        *("seqlens_k", "total_sequence_length", "cos_cache", "sin_cache", "position_ids"),
        *("attention_bias", "head_sink", "k_scale", "v_scale"),
    ),
    _PRESENTS,
    (
        *("num_heads", "kv_num_heads", "scale", "softcap", "local_window_size"),
        *("do_rotary", "rotary_interleaved", "sliding_window_cache"),
        *("k_quant_type", "v_quant_type", "kv_cache_bit_width"),
    ),
)
SPARSE_ATTENTION = Operator(
    "SparseAttention",
    (
        *_CACHED,
        *("block_row_indices", "block_col_indices", "total_sequence_length", "key_total_sequence_lengths"),
        *("cos_cache", "sin_cache"),
    ),
    _PRESENTS,
)
SHARING_OPERATORS = (GROUP_QUERY_ATTENTION, SPARSE_ATTENTION)
"""Those that write new positions into the memory of the past, where that is the memory of the present too."""

LINEAR_ATTENTION = Operator(
    "LinearAttention",
    ("query", "key", "value", "past_state", "decay", "beta"),
    ("output", "present_state"),
    ("update_rule", "q_num_heads", "kv_num_heads", "scale"),
)
CAUSAL_CONV_WITH_STATE = Operator(
    "CausalConvWithState",
    ("input", "weight", "bias", "past_state"),
    ("output", "present_state"),
    ("ndim", "activation"),
)

ROTARY_EMBEDDING = Operator(
    "RotaryEmbedding",
    ("input", "position_ids", "cos_cache", "sin_cache"),
    ("output",),
    ("num_heads", "rotary_embedding_dim", "interleaved"),
)
ONNX_ROTARY_EMBEDDING = Operator(
    "RotaryEmbedding",
    ("X", "cos_cache", "sin_cache", "position_ids"),
    ("Y",),
    ("num_heads", "rotary_embedding_dim", "interleaved"),
    domain=ONNX,
)

GATHER = Operator("Gather", ("data", "indices"), ("output",), ("axis",), domain=ONNX)
GATHER_BLOCK_QUANTIZED = Operator(
    "GatherBlockQuantized",
    ("data", "indices", "scales", "zero_points"),
    ("output",),
    ("bits", "block_size", "gather_axis", "quantize_axis"),
)
MATMUL_NBITS = Operator(
    "MatMulNBits",
    ("A", "B", "scales", "zero_points", "g_idx", "bias"),
    ("Y",),
    ("K", "N", "bits", "block_size", "accuracy_level"),
)
FUSED_MATMUL = Operator("FusedMatMul", ("A", "B"), ("Y",), ("transB",))
QUICK_GELU = Operator("QuickGelu", ("X",), ("Y",), ("alpha",))

_MOE_ATTRIBUTES = (
    *("k", "normalize_routing_weights", "activation_type", "swiglu_fusion", "swiglu_limit"),
    *("activation_alpha", "activation_beta"),
)
MOE = Operator(
    "MoE",
    (
        *("input", "router_probs", "fc1_experts_weights", "fc1_experts_bias"),
        *("fc2_experts_weights", "fc2_experts_bias"),
    ),
    ("output",),
    _MOE_ATTRIBUTES,
)
QMOE = Operator(
    "QMoE",
    (
        *("input", "router_probs", "fc1_experts_weights", "fc1_scales", "fc1_experts_bias"),
        *("fc2_experts_weights", "fc2_scales", "fc2_experts_bias"),
        *("fc3_experts_weights", "fc3_scales", "fc3_experts_bias"),
        *("fc1_zero_points", "fc2_zero_points"),
    ),
    ("output",),
    (*_MOE_ATTRIBUTES, "expert_weight_bits", "block_size", "accuracy_level", "weights_prepacked"),
)

_SKIP_NORM_OUTPUTS = ("output", "mean", "inv_std_var", "input_skip_bias_sum")
SKIP_LAYER_NORM = Operator(
    "SkipLayerNormalization",
    ("input", "skip", "gamma", "beta"),
    _SKIP_NORM_OUTPUTS,
    ("epsilon",),
)
SKIP_RMS_NORM = Operator(
    "SkipSimplifiedLayerNormalization", ("input", "skip", "gamma"), _SKIP_NORM_OUTPUTS, ("epsilon",)
)

OPERATORS: tuple[Operator, ...] = (
    CAUSAL_CONV_WITH_STATE,
    FUSED_MATMUL,
    GATHER,
    GATHER_BLOCK_QUANTIZED,
    GROUP_QUERY_ATTENTION,
    LINEAR_ATTENTION,
    MATMUL_NBITS,
    MOE,
    ONNX_ROTARY_EMBEDDING,
    QMOE,
    QUICK_GELU,
    ROTARY_EMBEDDING,
    SKIP_LAYER_NORM,
    SKIP_RMS_NORM,
    SPARSE_ATTENTION,
)


def find_operator(domain: str, op_type: str) -> Operator | None:
    """Return the operator that a node of this domain and type is; None if it is not one of these."""
    return next((each for each in OPERATORS if each.is_type_of(domain, op_type)), None)
