"""What the installed ONNX Runtime is: its version, and the IR versions and operator sets that it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from onnx import TensorProto, helper

from genai.runtime.ort import ORT_ERRORS, onnxruntime

__all__ = ["explain_opset_refusal", "runtime_version"]


def runtime_version() -> str:
    """Return the version of ONNX Runtime."""
    return str(onnxruntime.__version__)


def explain_opset_refusal(ir_version: int, opsets: Mapping[str, int]) -> str | None:
    """Return why ONNX Runtime takes no model of this IR version and these opsets by domain; None if it takes them.

    It is asked with a model of one node, so that no table of versions has to be kept.

    >>> explain_opset_refusal(10, {"": 21}) is None
    True
    """
    source, target = (
        helper.make_tensor_value_info(name, TensorProto.UINT8, ["n"]) for name in ("source", "target")
    )
    node = helper.make_node("Identity", ["source"], ["target"])
    graph = helper.make_graph([node], "probe", [source], [target])
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = helper.make_model(graph, ir_version=ir_version, opset_imports=imports)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        reason = re.search(r"Current official support.*|Unsupported model IR version.*", str(error))
        return (reason.group() if reason else str(error)).strip().rstrip(".")
    return None
