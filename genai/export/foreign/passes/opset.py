"""Raising a graph's opset to the one that native exports have, where no operator in it changes its meaning."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from genai.export.foreign.passes.unprovable import Unprovable
from genai.graph.opset import IR_VERSION, ONNX, ONNX_DOMAINS, OPSETS

__all__ = ["raise_opset"]

FIRST = 18
"""The first opset whose operators of decoders take axes and the like as operands, as today's do."""

CHANGED = frozenset(
    (
        "AffineGrid",
        "BatchNormalization",
        "DeformConv",
        "GridSample",
        "GroupNormalization",
        "Resize",
        "Upsample",
    )
)
"""Operators whose meaning changed between the opsets."""


def raise_opset(model: ir.Model) -> None:
    """Raise the opset, in place.

    Raises:
        Unprovable: The graph is too old, or has an operator that would change.
    """
    current, wanted = model.graph.opset_imports[ONNX], OPSETS[ONNX]
    if current >= wanted:
        return
    if current < FIRST:
        raise Unprovable(f"opset {current} is older than {FIRST}")
    for node in model.graph.all_nodes():
        if node.domain in ONNX_DOMAINS and not _keeps_its_meaning(node.op_type, current, wanted):
            raise Unprovable(f"{node.op_type} is another operator in opset {wanted}")
    model.graph.opset_imports[ONNX] = wanted
    model.ir_version = max(model.ir_version, IR_VERSION)


def _keeps_its_meaning(op_type: str, current: int, wanted: int) -> bool:
    if op_type in CHANGED:
        return False
    try:
        old = onnx.defs.get_schema(op_type, max_inclusive_version=current)
        new = onnx.defs.get_schema(op_type, max_inclusive_version=wanted)
    except onnx.defs.SchemaError:
        return False
    same_operands = [operand.name for operand in old.inputs] == [operand.name for operand in new.inputs]
    return same_operands and set(old.attributes) <= set(new.attributes)
