"""Places for adapters in a graph, and what is bound to them: any rows with any adapters, as numpy computes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from genai.folder.adapter_files import LowRank
from genai.runtime.adapt import AdaptedProduct, add_adapters, add_at_all_positions
from genai.runtime.adapters import AdapterInputs, AdapterSet, AdapterWeights
from genai.runtime.binding import AddressBinding
from genai.runtime.devices import HostDevice

Floats = NDArray[np.float32]

RANDOM = np.random.default_rng(0)
SHAPES = {"first": (5, 3), "second": (3, 4)}
WEIGHTS = {name: RANDOM.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
ORDER = np.array([3, 0, 4, 1, 2])
"""In which the first product reads its inputs."""


def two_products() -> ModelProto:
    """y = x[:, ORDER] first second + 1."""
    nodes = [
        helper.make_node("Gather", ["x", "first.input_order"], ["ordered"], axis=-1),
        helper.make_node("MatMul", ["ordered", "first.weight"], ["inner"]),
        helper.make_node("MatMul", ["inner", "second.weight"], ["product"]),
        helper.make_node("Add", ["product", "second.bias"], ["y"]),
    ]
    tensors = {f"{name}.weight": weight for name, weight in WEIGHTS.items()}
    tensors |= {"first.input_order": ORDER, "second.bias": np.ones(4, np.float32)}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch_size", "sequence_length", 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch_size", "sequence_length", 4])],
        [numpy_helper.from_array(tensor, name) for name, tensor in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def expected(x: Floats, adapter: Mapping[str, LowRank], factor: float = 1) -> Floats:
    """What two_products gives with an adapter."""
    value = x
    for name, weight in WEIGHTS.items():
        product = (value[..., ORDER] if name == "first" else value) @ weight
        if name in adapter:
            added = value @ adapter[name].a.T @ adapter[name].b
            product = product + (factor * added if name == "second" else added)
        value = product
    return np.asarray(value + 1, np.float32)


@st.composite
def adapter_sets(draw: st.DrawFn) -> AdapterSet:
    """Up to four adapters, of which each has ranks of its own and may leave a product alone."""
    random = np.random.default_rng(draw(st.integers(0, 99)))
    files = []
    for _ in range(draw(st.integers(1, 4))):
        names = draw(st.sets(st.sampled_from(sorted(SHAPES)), min_size=1))
        files.append({name: low_rank(random, name, draw(st.integers(1, 3))) for name in sorted(names)})
    return AdapterSet.of_files({f"adapter{index}": file for index, file in enumerate(files)})


def low_rank(random: np.random.Generator, name: str, rank: int) -> LowRank:
    num_inputs, num_outputs = SHAPES[name]
    a, b = (random.normal(size=(rank, size)).astype(np.float32) for size in (num_inputs, num_outputs))
    return LowRank(a, b)


@given(adapters=adapter_sets(), is_device=st.booleans(), data=st.data())
def test_every_row_has_its_own(adapters: AdapterSet, is_device: bool, data: st.DataObject) -> None:
    """In the form of the CPU, and in that of devices, which cut nothing off and have no products of no columns."""
    model = two_products()
    assert add_adapters(model, adapters.products) == []
    if is_device:
        add_at_all_positions(model.graph)
        assert "Slice" not in {node.op_type for node in model.graph.node}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    device = HostDevice()
    weights = AdapterWeights(adapters, device, min_ranks=int(is_device))
    inputs = AdapterInputs(weights, device, rows=5)
    choices = st.lists(st.sampled_from([None, *adapters.names]), min_size=1, max_size=5)
    for names in data.draw(st.lists(choices, min_size=1, max_size=3)):
        x = RANDOM.normal(size=(len(names), data.draw(st.integers(1, 3)), 5)).astype(np.float32)
        y = run_with(session, inputs, names, x)
        for row, name in enumerate(names):
            adapter = {} if name is None else adapters.files[adapters.names.index(name)]
            np.testing.assert_allclose(y[row], expected(x[row], adapter), atol=1e-4)


def run_with(session: Any, inputs: AdapterInputs, names: Sequence[str | None], x: Floats) -> Floats:
    """Run two_products with an adapter for each row."""
    y = np.full((*x.shape[:2], 4), np.nan, np.float32)
    binding = AddressBinding(session, None, is_repeated=False)
    binding.host_input("x", x)
    binding._binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)
    ports = {port.name for port in session.get_inputs()} - {"x"}
    inputs.bind(binding, inputs.write(names), rows=len(names), inputs=ports)
    binding.run()
    return y


def test_what_an_adapter_overflows_with_is_its_own_rows() -> None:
    random = np.random.default_rng(0)
    plain, wild = ({name: low_rank(random, name, 2) for name in SHAPES} for _ in range(2))
    wild["first"].a[...] = 3e38
    adapters = AdapterSet.of_files({"plain": plain, "wild": wild})
    model = two_products()
    assert add_adapters(model, adapters.products) == []
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    device = HostDevice()
    x = np.full((3, 1, 5), 9, np.float32)
    names = ["plain", "wild", None]
    y = run_with(session, AdapterInputs(AdapterWeights(adapters, device), device, rows=3), names, x)
    assert not np.isfinite(y[1]).any()
    np.testing.assert_allclose(y[0], expected(x[0], plain), rtol=1e-4)
    np.testing.assert_allclose(y[2], expected(x[2], {}), rtol=1e-4)


def test_what_outputs_were_multiplied_by_is_what_is_added_too() -> None:
    model, random = two_products(), np.random.default_rng(1)
    added = {"second": low_rank(random, "second", 2)}
    products = {"second": AdaptedProduct(3, 4, 0, np.dtype(np.float32))}
    assert add_adapters(model, products, {"product": np.full(4, 3, np.float32)}) == []
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = random.normal(size=(1, 2, 5)).astype(np.float32)
    feeds = {
        "x": x,
        "adapters.mask.0": np.ones((1, 1, 2), np.bool_),
        "adapters.positions": np.array([2]),
        "adapters.second.lora_A": added["second"].a,
        "adapters.second.lora_B": added["second"].b,
    }
    (y,) = session.run(None, feeds)
    np.testing.assert_allclose(y, expected(x, added, factor=3), atol=1e-4)


@pytest.mark.parametrize("name", ["third", "second.bias", "first.input_order", "first"])
def test_a_product_that_is_not_there_or_of_another_shape_is_told(name: str) -> None:
    products = {name: AdaptedProduct(3, 4, 0, np.dtype(np.float32))}
    assert add_adapters(two_products(), products) == [name]
