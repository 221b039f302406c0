"""Whether prompts are read in 8 bits, by a second graph over the same cache, and what that graph is.

One token is multiplied as fast as weights come from memory, so it wants few bits a weight. A prompt is multiplied as fast as
the processor computes, and it computes fastest in 8 bits (`adapt/eight_bit_products.py`). Having both takes a byte for every
weight more.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from genai.graph.names import LOGITS
from genai.runtime.adapt import external_locations, to_eight_bit_products
from genai.runtime.adapt.graph import remove_unused
from genai.runtime.eight_bit_weights import write_eight_bit_weights
from genai.runtime.ort import onnxruntime
from genai.runtime.providers.hardware import free_host_bytes

__all__ = ["read_prompts_in_eight_bits"]

_LEAST_BYTES = 16 << 20
"""Of weights: what fewer take of a processor is not worth a second graph."""
_SHARE_OF_FREE = 0.25
"""Of the memory that is free, what "auto" lets these weights take."""
_FREE_IF_UNKNOWN = 4 << 30
_OPSET, _IR_VERSION = 21, 10


def read_prompts_in_eight_bits(
    model: ModelProto, weights: Path, *, made: Path, optimize_for: str
) -> Path | None:
    """Change an adapted graph, in place, to one that reads prompts in 8 bits, if that is worth what it takes.

    Args:
        model: The graph.
        weights: The folder that the names of its weights count from.
        made: A folder for the weights that are made; they are wanted until there is a session.
        optimize_for: One of `genai.config.OPTIMIZE_FOR`.

    Returns:
        The folder that the names of its weights count from now; `None` if one graph is to do all.

    Raises:
        OSError: The weights cannot be written.
        ValueError: Both folders are on different drives.
    """
    if optimize_for == "memory" or not _multiplies_exactly():
        return None
    logits = next(output for output in model.graph.output if output.name == LOGITS)
    model.graph.output.remove(logits)
    remove_unused(model.graph)
    matrices = to_eight_bit_products(model)
    num_bytes = sum(matrix.nbytes for matrix in matrices)
    free = free_host_bytes() or _FREE_IF_UNKNOWN
    if not matrices or (optimize_for == "auto" and not _LEAST_BYTES <= num_bytes <= _SHARE_OF_FREE * free):
        return None
    made = made.resolve()
    root = Path(os.path.commonpath([weights, made]))
    initializers = write_eight_bit_weights(matrices, made / "weights", weights=weights)
    model.graph.initializer.extend(initializers)
    for entry in external_locations(model.graph):  # an absolute path stays what it is
        entry.value = (weights / entry.value).relative_to(root).as_posix()
    return root


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
        [helper.make_tensor_value_info("codes", TensorProto.UINT8, [1, 64])],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, [1, 16])],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in zip(names, constants, strict=True)
        ],
    )
    domains = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=_IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (product,) = session.run(None, {"codes": np.full((1, 64), 255, np.uint8)})
    return bool((product == 64 * (255 - 128) * 127).all())
