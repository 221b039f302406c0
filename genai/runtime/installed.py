"""What the installed ONNX Runtime is: its version, and the IR versions and operator sets that it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from onnx import TensorProto, helper

from genai.runtime.ort import ORT_ERRORS, onnxruntime

__all__ = ["explain_opset_refusal", "identity_model", "runtime_build", "runtime_version"]


def runtime_version() -> str:
    """Return the version of ONNX Runtime."""
    return str(onnxruntime.__version__)


def runtime_build() -> str:
    """Return what ONNX Runtime's build says of itself, and the package that it came with."""
    return f"{onnxruntime.package_name}; {onnxruntime.get_build_info().removeprefix('ORT Build Info: ')}"


def explain_opset_refusal(ir_version: int, opsets: Mapping[str, int]) -> str | None:
    """Return why ONNX Runtime takes no model of this IR version and these opsets by domain; None if it takes them.

    It is asked with a model of one node, so that no table of versions has to be kept.

    >>> explain_opset_refusal(10, {"": 21}) is None
    True
    """
    model = identity_model(ir_version, opsets)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        reason = re.search(r"Current official support.*|Unsupported model IR version.*", str(error))
        return (reason.group() if reason else str(error)).strip().rstrip(".")
    return None


def identity_model(ir_version: int = 10, opsets: Mapping[str, int] = MappingProxyType({"": 21})) -> bytes:
    """Return a model of one node that copies bytes."""
    source, target = (
        helper.make_tensor_value_info(name, TensorProto.UINT8, ["n"]) for name in ("source", "target")
    )
    node = helper.make_node("Identity", ["source"], ["target"])
    graph = helper.make_graph([node], "copy", [source], [target])
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model: bytes = helper.make_model(graph, ir_version=ir_version, opset_imports=imports).SerializeToString()
    return model
