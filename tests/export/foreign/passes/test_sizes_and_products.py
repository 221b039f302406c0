"""Size arithmetic that becomes constants, and products that lose the reshapes around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from genai.export.foreign.passes import apply_passes
from tests.export.foreign.passes.raw_decoder import NUM_LAYERS, VOCAB_SIZE, RawGraph, Spelling, build
from tests.export.foreign.passes.running import make_session, run_growing

TOKENS = np.random.default_rng(6).integers(0, VOCAB_SIZE, 17).tolist()


@pytest.mark.parametrize(
    "spelling",
    [Spelling(), Spelling(num_kv_heads=4, rotation="interleaved")],
    ids=["shared heads", "own heads"],
)
def test_targets_become_constants(spelling: Spelling, tmp_path: Path) -> None:
    before = make_session(build(spelling), tmp_path, "before")
    model = build(spelling)
    assert apply_passes(model, names=["fixed_sizes"]).changes["fixed_sizes"] > 0
    targets = [node.inputs[1] for node in model.graph if node.op_type == "Reshape"]
    assert all(target.const_value is not None for target in targets)
    after = make_session(model, tmp_path, "after")
    for pieces in ([17], [9, 7, 1]):
        expected = run_growing(before, TOKENS, pieces)
        np.testing.assert_allclose(run_growing(after, TOKENS, pieces), expected, atol=1e-6, rtol=0)


def _with_size(op_type: str, number: int) -> ir.Model:
    """A decoder that also gives the number of new positions joined with a number, and one more."""
    model, g = build(Spelling()), RawGraph()
    result = g.op(
        "Add", g.op(op_type, g.op("Shape", _input(model, "input_ids"), start=1, end=2), [number]), [1]
    )
    return _with_output(model, g, result)


def _input(model: ir.Model, name: str) -> ir.Value:
    return next(value for value in model.graph.inputs if value.name == name)


def _with_output(model: ir.Model, g: RawGraph, result: ir.Value) -> ir.Model:
    """A decoder that also gives what the added nodes compute, int64 [1], as its output "size"."""
    for index, initializer in enumerate(g.initializers):
        initializer.name = f"added_{index}"
        model.graph.register_initializer(initializer)
    for node in g.nodes:
        node.outputs[0].name = f"added_{node.outputs[0].name}"
    model.graph.extend(g.nodes)
    result.name, result.type, result.shape = "size", ir.TensorType(ir.DataType.INT64), ir.Shape([1])
    model.graph.outputs.append(result)
    return model


@pytest.mark.parametrize(
    ("op_type", "number", "stays"), [("Mul", 0, False), ("Max", 100, True), ("Div", 9, True)]
)
def test_a_size_is_fixed_if_it_is_the_same_for_long_inputs_too(
    op_type: str, number: int, stays: bool
) -> None:
    model = _with_size(op_type, number)
    apply_passes(model, names=["fixed_sizes"])
    (joined,) = (value.producer() for value in model.graph.outputs if value.name == "size")
    assert joined.inputs[0].is_initializer() != stays


@pytest.mark.parametrize("name", ["attention_mask", "position_ids"])
def test_what_an_input_holds_is_no_size(name: str) -> None:
    model, g = build(Spelling()), RawGraph()
    first = g.op("Slice", g.op("Reshape", _input(model, name), [-1]), [0], [1])
    smallest = g.op("Min", first, [0 if name == "position_ids" else 1])
    apply_passes(_with_output(model, g, g.op("Add", smallest, [1])), names=["fixed_sizes"])
    (joined,) = (value.producer() for value in model.graph.outputs if value.name == "size")
    assert not joined.inputs[0].is_initializer()


def test_flat_products_are_products_over_both_axes(tmp_path: Path) -> None:
    spelling = Spelling(flat_products=True)
    before = make_session(build(spelling), tmp_path, "before")
    model = build(spelling)
    assert apply_passes(model, names=["flat_products"]).changes == {"flat_products": 2 * NUM_LAYERS}
    assert not any(node.op_type == "Gemm" for node in model.graph)
    after = make_session(model, tmp_path, "after")
    expected = run_growing(before, TOKENS, [9, 7, 1])
    np.testing.assert_allclose(run_growing(after, TOKENS, [9, 7, 1]), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("change", ["alpha", "beta"])
def test_a_gemm_that_does_more_stays(change: str) -> None:
    model = build(Spelling(flat_products=True))
    gemm = next(node for node in model.graph if node.op_type == "Gemm")
    gemm.attributes[change] = ir.AttrFloat32(change, 2.0)
    assert apply_passes(model, names=["flat_products"]).changes == {"flat_products": 2 * NUM_LAYERS - 1}
