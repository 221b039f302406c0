"""Norms of basic operators and the same norms as one node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from genai.export.foreign.passes import apply_passes
from tests.export.foreign.passes.raw_decoder import NUM_LAYERS, VOCAB_SIZE, Spelling, build
from tests.export.foreign.passes.running import make_session, run_growing

TOKENS = np.random.default_rng(2).integers(0, VOCAB_SIZE, 17).tolist()
NUM_NORMS = 2 * NUM_LAYERS + 1
"""Of a decoder; all but the first read a residual addition."""

FUSED = {
    "rms": ("RMSNormalization", "SkipSimplifiedLayerNormalization"),
    "rms_div": ("RMSNormalization", "SkipSimplifiedLayerNormalization"),
    "rms_pow": ("RMSNormalization", "SkipSimplifiedLayerNormalization"),
    "rms_reciprocal": ("RMSNormalization", "SkipSimplifiedLayerNormalization"),
    "centered": ("LayerNormalization", "SkipLayerNormalization"),
    "layer": ("LayerNormalization", "SkipLayerNormalization"),
}


@pytest.mark.parametrize("norm", FUSED)
def test_fused_norms_give_the_same(norm: str, tmp_path: Path) -> None:
    before = make_session(build(Spelling(norm=norm)), tmp_path, "before")
    model = build(Spelling(norm=norm))
    report = apply_passes(model, names=["fused_norms"])
    assert report.refusals == {}
    assert report.changes == {"fused_norms": NUM_NORMS - (norm == "layer")}
    alone, with_skip = FUSED[norm]
    op_types = [node.op_type for node in model.graph]
    assert (op_types.count(alone), op_types.count(with_skip)) == (1, NUM_NORMS - 1)
    assert "Pow" not in op_types
    after = make_session(model, tmp_path, "after")
    for pieces in ([17], [9, 7, 1]):
        expected = run_growing(before, TOKENS, pieces)
        np.testing.assert_allclose(run_growing(after, TOKENS, pieces), expected, atol=1e-4, rtol=0)


def _norm_of(change: str) -> ir.Model:
    """A decoder whose first norm is something else in one respect."""
    model = build(Spelling(norm="rms_pow"))
    mean = next(node for node in model.graph if node.op_type == "ReduceMean")
    power, (use,) = mean.inputs[0].producer(), mean.outputs[0].uses()
    root = next(iter(use.node.outputs[0].uses())).node
    if change == "another axis":
        replace_constant(model, mean, 1, np.asarray([-2], np.int64))
    elif change == "cubes":
        replace_constant(model, power, 1, np.asarray(3.0, np.float32))
    elif change == "no root":
        replace_constant(model, root, 1, np.asarray(-1.0, np.float32))
    elif change == "read elsewhere":
        model.graph.outputs.append(mean.outputs[0])
    return model


def replace_constant(model: ir.Model, node: ir.Node, place: int, array: np.ndarray) -> None:
    tensor = ir.tensor(array, name=f"replaced_{place}")
    value = ir.Value(
        name=tensor.name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    model.graph.register_initializer(value)
    node.replace_input_with(place, value)


@pytest.mark.parametrize("change", ["another axis", "cubes", "no root", "read elsewhere"])
def test_what_only_looks_like_a_norm_stays(change: str) -> None:
    model = _norm_of(change)
    assert apply_passes(model, names=["fused_norms"]).changes == {"fused_norms": NUM_NORMS - 1}
    assert sum(node.op_type == "ReduceMean" for node in model.graph) == 1


def test_an_old_opset_is_not_raised() -> None:
    model = build(Spelling(opset=17))
    report = apply_passes(model, names=["fused_norms"])
    assert report.changes == {"fused_norms": 0}
    assert "opset 17 is older than 18" in report.refusals["fused_norms"]
    assert model.graph.opset_imports[""] == 17


def test_an_operator_that_would_change_keeps_the_opset() -> None:
    model = build(Spelling())
    first = model.graph[0]
    resized = ir.node("GroupNormalization", [first.outputs[0]] * 3, attributes={"num_groups": 1})
    resized.outputs[0].name = "resized"
    model.graph.insert_after(first, resized)
    model.graph.outputs.append(resized.outputs[0])
    assert "GroupNormalization is another" in apply_passes(model).refusals["fused_norms"]
    assert model.graph.opset_imports[""] == 20
