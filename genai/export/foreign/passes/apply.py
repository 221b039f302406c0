"""The order of the passes over a graph that another exporter made, and the report of what they did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes import common

from genai.errors import OptionError
from genai.export.foreign.passes.fixed_sizes import fix_sizes
from genai.export.foreign.passes.flat_products import unflatten_products
from genai.export.foreign.passes.fused_norms import fuse_norms
from genai.export.foreign.passes.graph_queries import is_op
from genai.export.foreign.passes.last_positions import keep_last_positions
from genai.export.foreign.passes.rotations import fuse_rotations
from genai.export.foreign.passes.shared_cache import share_cache
from genai.export.foreign.passes.types import declare_types
from genai.export.foreign.passes.unprovable import Unprovable

__all__ = ["PASS_NAMES", "PassReport", "apply_passes"]

PASSES: Mapping[str, Callable[[ir.Model], int]] = {
    "fixed_sizes": fix_sizes,
    "shared_cache": share_cache,
    "flat_products": unflatten_products,
    "rotations": fuse_rotations,
    "fused_norms": fuse_norms,
    "last_positions": keep_last_positions,
}
PASS_NAMES: tuple[str, ...] = tuple(PASSES)
"""The passes, in their order."""


@dataclass(frozen=True, slots=True)
class PassReport:
    """What passes did to a graph.

    Args:
        changes: How many places each pass rewrote; 0 where there was nothing to do, or nothing it could prove.
        refusals: Why a pass left the graph as it was.
    """

    changes: Mapping[str, int]
    refusals: Mapping[str, str]


def apply_passes(model: ir.Model, *, names: Sequence[str] | None = None) -> PassReport:
    """Rewrite a decoder's graph, in place, where it is proven that it computes the same.

    The graph has the canonical names: inputs `input_ids`, `attention_mask`, perhaps `position_ids`,
    `past_key_values.{i}.key|value` [batch_size, num_heads, past, head_dim]; outputs `logits` and
    `present.{i}.key|value`. Weights may be external; only small ones are read.

    After `shared_cache` the graph runs with past and present in one buffer and takes rows of any lengths;
    `attention_mask`'s row sums are the lengths, and `position_ids` is no input any more. After `last_positions` it
    has the overridable input `num_logits_to_keep`, 1 by default.

    Args:
        model: The graph's model.
        names: Which passes to run, of `PASS_NAMES`; all by default. Their order is always the same.

    Raises:
        OptionError: There is no such pass.
    """
    for name in names or ():
        if name not in PASSES:
            raise OptionError(f"there is no pass {name!r}; there are {', '.join(PASS_NAMES)}")
    _tidy(model)
    changes: dict[str, int] = {}
    refusals: dict[str, str] = {}
    for name, run in PASSES.items():
        if names is not None and name not in names:
            continue
        try:
            changes[name] = run(model)
        except Unprovable as refusal:
            changes[name], refusals[name] = 0, str(refusal)
        common.TopologicalSortPass()(model)
        common.RemoveUnusedNodesPass()(model)
    return PassReport(changes, refusals)


def _tidy(model: ir.Model) -> None:
    """Bring a graph to the form that the passes read: constants as initializers, types declared, no identities, sorted."""
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    declare_types(model.graph)
    for node in model.graph:
        source = node.inputs[0] if is_op(node, "Cast") else None
        if source is not None and source.dtype is not None and source.dtype == node.outputs[0].dtype:
            node.op_type = "Identity"
            node.attributes.clear()
    common.IdentityEliminationPass()(model)
    common.TopologicalSortPass()(model)
    common.RemoveUnusedNodesPass()(model)
