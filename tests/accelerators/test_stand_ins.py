"""The stand-ins for CUDA's libraries: what they count, hold and refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from tests.accelerators.counters import counted, device_memory, live_bytes

pytestmark = pytest.mark.cuda_stub

NUM_BYTES = 1 << 20


def on_device(array: np.ndarray) -> Any:
    return ort.OrtValue.ortvalue_from_numpy(array, "cuda", 0)


def session_of(node: Any, **options: str) -> Any:
    """A session over one node from `x` to `y`, float32 [n]."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    graph = helper.make_graph([node], "one node", ports[:1], ports[1:])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])
    return ort.InferenceSession(model.SerializeToString(), providers=[("CUDAExecutionProvider", options)])


def test_copies_are_real_and_counted() -> None:
    source = np.arange(8, dtype=np.float32)
    with counted() as counts:
        value = on_device(source)
        other = on_device(np.zeros_like(source))
        other.update_inplace(value)
        found = other.numpy()
    np.testing.assert_array_equal(found, source)
    assert counts.pop("allocations", 0) <= 2
    copies = {name: number for name, number in counts.items() if name.startswith(("host_to", "device_to"))}
    assert copies == {
        "host_to_device": 2,
        "host_to_device_bytes": 64,
        "device_to_device": 1,
        "device_to_device_bytes": 32,
        "device_to_host": 1,
        "device_to_host_bytes": 32,
    }


def test_memory_is_counted_and_limited() -> None:
    session = session_of(helper.make_node("Relu", ["x"], ["y"]), arena_extend_strategy="kSameAsRequested")
    before = live_bytes()
    value = session.create_ortvalue_from_shape_and_type([NUM_BYTES], np.uint8, "cuda")
    assert live_bytes() - before == NUM_BYTES
    with device_memory(live_bytes() + NUM_BYTES), pytest.raises(RuntimeError, match="Failed to allocate"):
        session.create_ortvalue_from_shape_and_type([2 * NUM_BYTES], np.uint8, "cuda")
    del value


def test_kernels_do_nothing_and_are_counted() -> None:
    session = session_of(helper.make_node("Relu", ["x"], ["y"]))
    with counted() as counts:
        (found,) = session.run(None, {"x": np.ones(4, np.float32)})
    assert counts["kernels"] == 1
    assert not (found == 1).any()


def test_a_captured_copy_is_replayed() -> None:
    session = session_of(helper.make_node("Identity", ["x"], ["y"]), enable_cuda_graph="1")
    x, y = (on_device(np.zeros(4, np.float32)) for _ in range(2))
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", x)
    binding.bind_ortvalue_output("y", y)
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", "1")
    with counted() as first:
        session.run_with_iobinding(binding, options)
    assert (first["captures"], first["graph_launches"]) == (1, 1)
    x.update_inplace(np.arange(4, dtype=np.float32))
    with counted() as replay:
        session.run_with_iobinding(binding, options)
    np.testing.assert_array_equal(y.numpy(), np.arange(4))
    assert replay == {"graph_launches": 1, "replayed": 1, "stream_synchronizations": 1}
