"""Attention by the plain kernel: the same scores, faster, in memory for all of them at once.

ONNX Runtime's CPU has two kernels for GroupQueryAttention. The tiled one, which it takes where it can, holds few scores at a
time; the plain one multiplies queries by all keys with the fastest vector code, if the product is all there is to compute:
`scale` must be 1. So the factor on the scores goes into the weights that queries are made by, and a head sink too low to be
seen, which the tiled kernel does not know, asks for the plain one. One token's attention takes half to a third of the time,
prompts of 512 to 4,000 tokens in chunks of 256 are read a tenth faster, and a run has scores [heads, tokens, past + tokens],
which whoever cuts prompts into runs has to mind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from genai.graph.operators import GROUP_QUERY_ATTENTION, MATMUL_NBITS, ROTARY_EMBEDDING
from genai.graph.opset import ONNX_DOMAINS
from genai.runtime.adapt.graph import (
    attributes_of,
    find_float_constant,
    operands,
    remove_attribute,
    remove_unused,
)
from genai.runtime.adapt.weights import read_values

__all__ = ["attend_plainly"]

_UNSEEN_SCORE = np.float32(-1e30)
_NORMS = ("SimplifiedLayerNormalization", "RMSNormalization", "LayerNormalization")


def attend_plainly(model: ModelProto, weights: Path, *, num_threads: int) -> dict[str, NDArray[np.float32]]:
    """Change a graph, in place, so that attention is computed by the plain kernel.

    Layers stay as they are where queries come in no way that is known, and where a sequence has fewer heads than there
    are threads: the tiled kernel shares out a long sequence, the plain one heads alone.

    Args:
        model: The graph.
        weights: The folder that the names of its weights count from.
        num_threads: Threads that will run it.

    Returns:
        What the outputs of products have been multiplied by, float32 [outputs], by their names: what is added to one later
        wants the same.
    """
    scaling = _Scaling(model, weights)
    for node in model.graph.node:
        if GROUP_QUERY_ATTENTION.is_type_of(node.domain, node.op_type):
            scaling.apply(node, num_threads)
    remove_unused(model.graph)
    return scaling.factors


class _UnknownQueriesError(Exception):
    """Nothing constant is known that queries could be scaled by."""


class _Scaling:
    """The graph while factors on scores go into what makes its queries."""

    def __init__(self, model: ModelProto, weights: Path) -> None:
        self._graph, self._weights = model.graph, weights
        self.factors: dict[str, NDArray[np.float32]] = {}
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self._producers = {output: node for node in model.graph.node for output in node.output}
        self._num_readers = Counter(operand for node in model.graph.node for operand in operands(node))
        self._last_axes = {
            each.name: each.type.tensor_type.shape.dim[-1].dim_value
            for each in model.graph.input
            if each.type.tensor_type.shape.dim
        }

    def apply(self, node: NodeProto, num_threads: int) -> None:
        """Make the factor of one attention 1, if its queries can be scaled."""
        attributes = attributes_of(node)
        num_heads = attributes["num_heads"]
        is_packed = not GROUP_QUERY_ATTENTION.find("key", node.input)
        head_dim = self._last_axes.get(GROUP_QUERY_ATTENTION.find("past_key", node.input) or "")
        if not head_dim:  # a name, as others' graphs have it
            producer = self._producers.get(node.input[0])
            width = attributes_of(producer).get("N", 0) if producer is not None else 0
            head_dim = width // (num_heads + 2 * attributes["kv_num_heads"] * is_packed)
        if not head_dim or num_heads < num_threads or attributes.get("kv_cache_bit_width"):
            return
        factor = np.float32(attributes.get("scale") or head_dim**-0.5)
        num_rows = num_heads * head_dim if is_packed else None
        try:
            changes = list(self._changes(node.input[0], num_rows, factor))
        except _UnknownQueriesError:
            return
        for changed, index, tensor in changes:
            changed.input[index] = tensor.name
            self._graph.initializer.append(tensor)
            if MATMUL_NBITS.is_type_of(changed.domain, changed.op_type):
                factors = np.ones(attributes_of(changed)["N"], np.float32)
                factors[:num_rows] = factor
                self.factors[changed.output[0]] = factors
        remove_attribute(node, "scale")
        node.attribute.append(helper.make_attribute("scale", 1.0))
        if not attributes.get("softcap") and not attributes.get("smooth_softmax"):
            self._add_sink(node, num_heads)

    def _add_sink(self, node: NodeProto, num_heads: int) -> None:
        """Give an attention a head sink that takes no part, unless it has one."""
        if GROUP_QUERY_ATTENTION.find("head_sink", node.input):
            return
        index = GROUP_QUERY_ATTENTION.index("head_sink")
        node.input.extend([""] * (index + 1 - len(node.input)))
        node.input[index] = f"{node.output[0]}.unseen_sink"
        scores = np.full(num_heads, _UNSEEN_SCORE)
        self._graph.initializer.append(numpy_helper.from_array(scores, node.input[index]))

    def _changes(
        self, queries: str, num_rows: int | None, factor: np.float32
    ) -> Iterator[tuple[NodeProto, int, TensorProto]]:
        """Yield the nodes, operands and new constants that multiply queries by a factor.

        Args:
            queries: [..., outputs].
            num_rows: How many of the outputs are queries, the first; `None` for all.
            factor: The factor.

        Raises:
            _UnknownQueriesError: They are made in another way than those that are known.
        """
        node = self._producers.get(queries)
        if node is None or self._num_readers[queries] != 1:
            raise _UnknownQueriesError
        is_onnx = node.domain in ONNX_DOMAINS
        if MATMUL_NBITS.is_type_of(node.domain, node.op_type):
            num_outputs = attributes_of(node)["N"]
            scaled = [(MATMUL_NBITS.index("scales"), num_outputs)]
            if MATMUL_NBITS.find("bias", node.input):
                scaled.append((MATMUL_NBITS.index("bias"), num_outputs))
            for index, size in scaled:
                yield self._change(node, index, size, num_rows, factor)
        elif is_onnx and node.op_type == "Add":
            index = int(node.input[1] in self._initializers)
            yield self._change(node, index, None, num_rows, factor)
            yield from self._changes(node.input[1 - index], num_rows, factor)
        elif num_rows is None and node.op_type in _NORMS:
            for index in range(1, len(node.input)):
                yield self._change(node, index, None, None, factor)
        elif num_rows is None and (
            ROTARY_EMBEDDING.is_type_of(node.domain, node.op_type) or (is_onnx and node.op_type == "Reshape")
        ):
            yield from self._changes(node.input[0], None, factor)
        else:
            raise _UnknownQueriesError

    def _change(
        self, node: NodeProto, index: int, size: int | None, num_rows: int | None, factor: np.float32
    ) -> tuple[NodeProto, int, TensorProto]:
        """Multiply the first rows, out of so many, of a constant operand; its elements if it has no rows."""
        tensor = find_float_constant(node.input[index], self._producers, self._initializers)
        if tensor is None:
            raise _UnknownQueriesError
        values = np.array(read_values(tensor, self._weights), np.float32)
        if num_rows is not None and size is None and values.shape[-1:] != (values.size,):
            raise _UnknownQueriesError  # more than a vector: its first elements are not the first outputs
        values.reshape(size or values.size, -1)[:num_rows] *= factor
        return node, index, numpy_helper.from_array(values, f"{node.output[0]}.scaled.{index}")
