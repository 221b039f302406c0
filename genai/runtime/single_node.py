"""A graph of one node with constants, to find out what ONNX Runtime does with it on this CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from genai.graph.opset import IR_VERSION, OPSETS
from genai.runtime.ort import onnxruntime

__all__ = ["open_node"]


def open_node(
    node: NodeProto,
    x: npt.NDArray[Any],
    constants: Mapping[str, npt.NDArray[Any] | np.generic],
    *,
    output_type: int = TensorProto.FLOAT,
    num_threads: int | None = None,
) -> Callable[[], npt.NDArray[Any]]:
    """Return what runs a node whose input "x" is this array and whose output is called "y".

    Args:
        node: The node.
        x: Its input.
        constants: Its other inputs, by name.
        output_type: ONNX's number for the type of the output.
        num_threads: Threads of the operator; `None` is ONNX Runtime's choice.
    """
    dtype = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        [node],
        "node",
        [helper.make_tensor_value_info("x", dtype, x.shape)],
        [helper.make_tensor_value_info("y", output_type, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised
    if num_threads is not None:
        options.intra_op_num_threads = num_threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def run() -> npt.NDArray[Any]:
        output: npt.NDArray[Any] = session.run(None, {"x": x})[0]
        return output

    return run
