"""Whether prompts are read in 8 bits, by a second graph over the same cache, and what that graph is.

One token is multiplied as fast as weights come from memory, so it wants few bits a weight. A prompt is multiplied as fast as
the processor computes, and it computes fastest in 8 bits (`adapt/eight_bit_products.py`). Having both takes a byte for every
weight more.
"""

from __future__ import annotations

import functools
import logging
import os
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from genai.graph.names import LOGITS
from genai.graph.opset import IR_VERSION, OPSETS
from genai.runtime.adapt import external_locations, to_eight_bit_products
from genai.runtime.adapt.graph import remove_unused
from genai.runtime.eight_bit_weights import write_eight_bit_weights
from genai.runtime.ort import onnxruntime
from genai.runtime.providers.hardware import free_host_bytes

__all__ = ["read_prompts_in_eight_bits"]

logger = logging.getLogger("genai.runtime")

_LEAST_BYTES = 16 << 20
"""Of weights: what fewer take of a processor is not worth a second graph."""
_SHARE_OF_FREE = 0.25
"""Of the memory that is free, what "auto" lets these weights take."""
_FREE_IF_UNKNOWN = 4 << 30
_PROBED_ROWS = 32  # as kernels of matrices take them, which are others than those of vectors


def read_prompts_in_eight_bits(
    model: ModelProto, weights: Path, *, made: Path, optimize_for: str
) -> Path | None:
    """Change an adapted graph, in place, to one that reads prompts in 8 bits and gives no logits.

    Args:
        model: The graph; what becomes of it is undefined where it is not to read prompts.
        weights: The folder that the names of its weights count from.
        made: A folder for the weights that are made; they are wanted until there is a session.
        optimize_for: "speed", or "auto" for where it is worth the memory that it takes.

    Returns:
        The folder that the names of its weights count from now; `None` if one graph is to do all.

    Raises:
        OSError: The weights cannot be read or written.
        ValueError: Both folders are on different drives.
    """
    logits = next(output for output in model.graph.output if output.name == LOGITS)
    model.graph.output.remove(logits)
    remove_unused(model.graph)
    matrices = to_eight_bit_products(model)
    if (reason := _hindrance(sum(matrix.nbytes for matrix in matrices), optimize_for)) is not None:
        log = logger.warning if optimize_for == "speed" else logger.debug
        log("one graph reads prompts and decodes: %s", reason)
        return None
    made = made.resolve()
    root = Path(os.path.commonpath([weights, made]))
    initializers = write_eight_bit_weights(matrices, made / "weights", weights=weights)
    model.graph.initializer.extend(initializers)
    for entry in external_locations(model.graph):  # an absolute path stays what it is
        entry.value = (weights / entry.value).relative_to(root).as_posix()
    return root


def _hindrance(num_bytes: int, optimize_for: str) -> str | None:
    """Say why weights of so many bytes are not to be made; `None` if they are."""
    if not num_bytes:
        return "it has no product of quantized weights and activations of 8 bits"
    if optimize_for == "auto" and num_bytes < _LEAST_BYTES:
        return "it is small"
    if optimize_for == "auto" and num_bytes > _SHARE_OF_FREE * (free_host_bytes() or _FREE_IF_UNKNOWN):
        return f"{num_bytes / 2**20:,.0f} MiB more are much of the memory that is free"
    return None if _multiplies_exactly() else "this processor's products of bytes saturate"


@functools.cache
def _multiplies_exactly() -> bool:
    """Whether this processor's products of bytes are exact: without VNNI instructions, sums of two saturate at 16 bits."""
    weights = np.full((64, 16), 127, np.int8)
    names = ("weights", "one", "middle", "zero")
    constants = (weights, np.float32(1), np.uint8(128), np.int8(0))
    node = helper.make_node(
        "MatMulIntegerToFloat",
        ["codes", "weights", "one", "one", "middle", "zero"],
        ["product"],
        domain="com.microsoft",
    )
    graph = helper.make_graph(
        [node],
        "probe",
        [helper.make_tensor_value_info("codes", TensorProto.UINT8, [_PROBED_ROWS, 64])],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, [_PROBED_ROWS, 16])],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in zip(names, constants, strict=True)
        ],
    )
    domains = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(graph, opset_imports=domains, ir_version=IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (product,) = session.run(None, {"codes": np.full((_PROBED_ROWS, 64), 255, np.uint8)})
    return bool((product == 64 * (255 - 128) * 127).all())
