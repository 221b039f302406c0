"""Mixtures of experts: ONNX Runtime's kernels of them where they compute what is asked, else a plain graph.

What the kernels of ONNX Runtime 1.31 do on CPU was found by comparing them with the definition:

- `MoE` (float32, float16) and `QMoE` (4 and 8 bits) are right for a gate and an up that lie interleaved in one matrix
  ("swiglu", `swiglu_fusion` 1, with its clamp and offset). Apart ("swiglu_fusion" 0) or one after the other (2) they
  are refused; an activation other than SiLU after a gate does not exist, and "gelu" is the tanh approximation.
- The weights of a token's experts are right with `normalize_routing_weights`. Without it `QMoE` normalizes all the
  same, and `MoE` in float16 computes something else. So the routing is always normalized, and what the weights add
  up to is a factor on the sum afterwards.
- `QMoE` takes only whole blocks; here the widths are padded with zeros, which change nothing.
- `QMoE` at 4 bits is exact with float activations and off by about 1 % with int8 ones (`accuracy_level` 4), which take
  an eighth of the time for one token and half for 64 (16 experts of 768 x 2048, one core). At 8 bits it has only the
  latter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from genai.export.architecture import ClampedGate, MoeSpec
from genai.export.build.activations import activate, clip
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.linear import linear, multiply
from genai.export.build.mlp import mlp
from genai.export.build.quantized import StoredMatrix, quantize_stacked, quantized_experts, store_experts
from genai.export.build.routing import Routing, route
from genai.export.build.tensors import LazyTensor, from_array, stack
from genai.export.checkpoint.rows import InterleavedRows, PaddedRows, Rows, experts_of
from genai.graph.operators import MOE, QMOE
from genai.graph.opset import MICROSOFT
from genai.quantize import BlockScheme

__all__ = ["has_kernel", "kernel_experts", "moe", "plain_experts"]

FLOAT = ir.DataType.FLOAT


def moe(g: GraphBuilder, x: ir.Value, spec: MoeSpec, *, routed_by: ir.Value | None = None) -> ir.Value:
    """Return the weighted sum of each token's experts, and of the shared block if there is one.

    Args:
        g: The graph.
        x: [batch_size, sequence_length, hidden_size].
        spec: The experts.
        routed_by: What the router reads, if not x.
    """
    routing = route(g, x if routed_by is None else routed_by, spec.router)
    experts = kernel_experts if has_kernel(spec) and _fit_kernel(g) else plain_experts
    weighed = g.op("Mul", [x, routing.total]) if spec.weighs_input else x
    total = experts(g, weighed, routing, spec)
    if routing.total is not None and not spec.weighs_input:
        total = g.op("Mul", [total, routing.total])
    if spec.shared is None:
        return total
    with g.scope("shared"):
        shared = mlp(g, x, spec.shared)
    if spec.shared_gate:
        gate = g.op("Sigmoid", [linear(g, x, "shared_gate")])
        shared = g.op("Mul", [shared, gate])
    return g.op("Add", [total, shared])


def has_kernel(spec: MoeSpec) -> bool:
    """Whether ONNX Runtime has kernels for such experts."""
    if spec.router.expert_scales:
        return False
    return spec.expert.gated and (spec.clamped_gate is not None or spec.expert.activation == "silu")


def kernel_experts(g: GraphBuilder, x: ir.Value, routing: Routing, spec: MoeSpec) -> ir.Value:
    """Let `MoE` or `QMoE` compute the experts: [batch_size, sequence_length, hidden_size] both ways."""
    with g.scope("experts"):
        scheme = g.scheme_of("down")
        gates, ups, downs = (experts_of(g.parameter(f"{name}.weight")) for name in ("gate", "up", "down"))
        hidden_size, width = downs[0].shape
        padded_size, padded_width = (_padded(g, size, scheme) for size in (hidden_size, width))
        gates_ups = _interleaved(gates, ups, 2 * padded_width)
        gate_up = _matrices(g, "gate_up", _padded_inputs(g, gates_ups, padded_size), scheme)
        downs = [PaddedRows(view, padded_size) for view in downs]
        down = _matrices(g, "down", _padded_inputs(g, downs, padded_width), scheme)
        gate_up_bias = down_bias = None
        if spec.expert.bias:
            gates, ups, downs = (experts_of(g.parameter(f"{name}.bias")) for name in ("gate", "up", "down"))
            gate_up_bias = _biases(g, "gate_up", _interleaved(gates, ups, 2 * padded_width))
            down_bias = _biases(g, "down", [PaddedRows(view, padded_size) for view in downs])
    logits = g.op("Reshape", [routing.logits, g.integers(-1, spec.router.num_experts)])
    if padded_size != hidden_size:
        x = _pad_last(g, x, padded_size - hidden_size)
    total = _kernel(g, [x, logits], (gate_up, gate_up_bias), (down, down_bias), spec)
    if padded_size == hidden_size:
        return total
    return g.op("Slice", [total, g.integers(0), g.integers(hidden_size), g.integers(-1)])


def plain_experts(g: GraphBuilder, x: ir.Value, routing: Routing, spec: MoeSpec) -> ir.Value:
    """Compute the experts one after the other, each for the tokens that chose it; shapes as `kernel_experts`.

    Their weights are found in float32, as transformers does; of bfloat16, CUDA has no TopK and no NonZero.
    """
    num_experts, float_type = spec.router.num_experts, g.precision.float_type
    is_half = float_type != FLOAT
    tokens = g.op("Flatten", [x], axis=2)
    logits = g.op("Reshape", [routing.logits, g.integers(-1, num_experts)])
    logits = g.op("Cast", [logits], to=FLOAT) if is_half else logits
    best, chosen = g.ops("TopK", [logits, g.integers(spec.router.num_experts_per_token)], 2, axis=-1)
    nothing = g.op("Expand", [g.float32(0.0), g.op("Shape", [logits])])
    shares = g.op("ScatterElements", [nothing, chosen, g.op("Softmax", [best], axis=-1)], axis=-1)
    if spec.router.expert_scales:
        scales = from_array(g.parameter("router.expert_scales")[:], FLOAT)
        shares = g.op("Mul", [shares, g.initializer("router.expert_scales", scales)])
    total = g.op("Expand", [g.float32(0.0), g.op("Shape", [tokens])])  # ScatterND adds no float16 on CPU
    by_expert = g.ops("Split", [shares, g.integers(*[1] * num_experts)], num_experts, axis=-1)
    for index, share in enumerate(by_expert):
        with g.scope("experts"):
            rows = g.op(
                "Reshape", [g.op("NonZero", [g.op("Reshape", [share, g.integers(-1)])]), g.integers(-1, 1)]
            )
            output = _plain_expert(g, g.op("GatherND", [tokens, rows]), spec, index)
            weights = g.op("GatherND", [share, rows])
            weights = g.op("Cast", [weights], to=float_type) if is_half else weights
            weighed = g.op("Mul", [output, weights])
            weighed = g.op("Cast", [weighed], to=FLOAT)
            total = g.op("ScatterND", [total, rows, weighed], reduction="add")
    total = g.op("Cast", [total], to=float_type)
    return g.op("Reshape", [total, g.op("Shape", [x])])


def _plain_expert(g: GraphBuilder, x: ir.Value, spec: MoeSpec, index: int) -> ir.Value:
    """One expert, of some tokens [tokens, hidden_size]."""

    def project(x: ir.Value, *modules: str) -> ir.Value:
        kinds = ("weight", "bias") if spec.expert.bias else ("weight",)
        weights, *biases = (
            [experts_of(g.parameter(f"{name}.{kind}"))[index] for name in modules] for kind in kinds
        )
        return multiply(
            g,
            x,
            weights,
            biases[0] if biases else [],
            name=f"{index}.{'_'.join(modules)}",
            scheme=g.scheme_of(modules[0]),
        )

    if not spec.expert.gated:
        return project(activate(g, project(x, "up"), spec.expert.activation), "down")
    if g.storage_of("gate") == g.storage_of("up"):
        width = spec.expert.intermediate_size
        gate, up = g.ops("Split", [project(x, "gate", "up"), g.integers(width, width)], 2, axis=-1)
    else:
        gate, up = project(x, "gate"), project(x, "up")
    if spec.clamped_gate is None:
        return project(g.op("Mul", [activate(g, gate, spec.expert.activation), up]), "down")
    return project(_clamped(g, gate, up, spec.clamped_gate), "down")


def _clamped(g: GraphBuilder, gate: ir.Value, up: ir.Value, spec: ClampedGate) -> ir.Value:
    gate = clip(g, gate, high=spec.limit)
    up = clip(g, up, low=-spec.limit, high=spec.limit)
    gate = g.op("QuickGelu", [gate], domain=MICROSOFT, alpha=spec.alpha)
    return g.op("Mul", [gate, g.op("Add", [up, g.scalar(1.0)])])


def _fit_kernel(g: GraphBuilder) -> bool:
    """Whether all matrices of the experts are stored alike, as the kernels want them, and the provider has such a kernel."""
    with g.scope("experts"):
        schemes = {g.scheme_of(name) for name in ("gate", "up", "down")}
    operator = MOE if schemes == {None} else QMOE
    return len(schemes) == 1 and operator.op_type not in g.precision.form.without


def _kernel(
    g: GraphBuilder,
    inputs: list[ir.Value],
    gate_up: tuple[ir.Value | StoredMatrix, ir.Value | None],
    down: tuple[ir.Value | StoredMatrix, ir.Value | None],
    spec: MoeSpec,
) -> ir.Value:
    """Add the kernel, with the tokens and the routing as inputs, and matrices and biases."""
    (first, first_bias), (second, second_bias) = gate_up, down
    clamp = spec.clamped_gate
    attributes: dict[str, Any] = {
        "k": spec.router.num_experts_per_token,
        "normalize_routing_weights": 1,
        "activation_type": "swiglu",
        "swiglu_fusion": 1,
        "activation_alpha": 1.0 if clamp is None else clamp.alpha,
        "activation_beta": 0.0 if clamp is None else 1.0,
    }
    if clamp is not None:
        attributes["swiglu_limit"] = clamp.limit
    if isinstance(first, StoredMatrix) and isinstance(second, StoredMatrix):
        return quantized_experts(
            g,
            inputs,
            (first, first_bias),
            (second, second_bias),
            **attributes,
        )
    assert isinstance(first, ir.Value), "floats"
    assert isinstance(second, ir.Value), "floats"
    operands = [*inputs, first, first_bias, second, second_bias]
    return g.op(MOE.op_type, operands, domain=MOE.domain, **attributes)


def _padded(g: GraphBuilder, size: int, scheme: BlockScheme | None) -> int:
    """A width in whole blocks, as the provider's kernel wants it."""
    if scheme is None:
        return size
    multiple = math.lcm(scheme.block_size, g.precision.form.expert_multiple)
    return -(-size // multiple) * multiple


def _pad_last(g: GraphBuilder, x: ir.Value, count: int) -> ir.Value:
    """Append zeros to the last axis of [batch_size, sequence_length, inputs]; CUDA's Pad has no kernel for bfloat16."""
    is_bfloat16 = g.precision.float_type == ir.DataType.BFLOAT16
    x = g.op("Cast", [x], to=FLOAT) if is_bfloat16 else x
    padded = g.op("Pad", [x, g.integers(0, 0, 0, 0, 0, count)])
    return g.op("Cast", [padded], to=g.precision.float_type) if is_bfloat16 else padded


def _interleaved(gates: Sequence[Rows], ups: Sequence[Rows], num_rows: int) -> list[Rows]:
    """Each expert's gate and up, row by row in turn, with rows of zeros after them."""
    return [PaddedRows(InterleavedRows((gate, up)), num_rows) for gate, up in zip(gates, ups, strict=True)]


def _padded_inputs(g: GraphBuilder, views: Sequence[Rows], num_columns: int) -> Sequence[Rows]:
    """Pad the matrices to the width of what they multiply, where that is more than the whole blocks that they have anyway."""
    if g.precision.form.expert_multiple == 1:
        return views
    return [PaddedRows(view, len(view), num_columns) for view in views]


def _matrices(
    g: GraphBuilder, name: str, experts: Sequence[Rows], scheme: BlockScheme | None
) -> ir.Value | StoredMatrix:
    """Store the experts' matrices: [num_experts, rows, columns]."""
    if scheme is None:
        return g.initializer(f"{name}.weight", _stack_experts(experts, g.precision.float_type))
    return store_experts(g, name, quantize_stacked(experts, scheme), num_experts=len(experts))


def _biases(g: GraphBuilder, name: str, experts: Sequence[Rows]) -> ir.Value:
    return g.initializer(f"{name}.bias", _stack_experts(experts, g.precision.float_type))


def _stack_experts(experts: Sequence[Rows], dtype: ir.DataType) -> LazyTensor:
    """The experts' matrices or vectors along a new first axis."""
    flat = stack(experts, dtype)
    return LazyTensor(dtype, (len(experts), *experts[0].shape), flat.read, row_axes=2)
