"""Places for adapters beside the products of a graph: inputs of low-rank matrices, and what they add.

    y = x W + b   becomes   y + where(mask, x Aᵀ, 0) B

A [rank, inputs] and B [rank, outputs] are inputs, bound to what lies in memory already: no run copies them, and without an
adapter they have no rows. Several adapters at once are their rows one behind the other, of which a mask [rows, 1, rank]
leaves each sequence its own: chosen, not multiplied, since what another row's adapter makes of it may be infinite. Without an adapter what is added is zeros for one position, which costs a prompt less than
zeros for all would. The sum stands where the product stood, so that the folder's graph stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from genai.graph.axes import BATCH_SIZE
from genai.graph.names import ADAPTER_POSITIONS, adapter_mask, adapter_matrices
from genai.graph.operators import FUSED_MATMUL, MATMUL_NBITS
from genai.graph.opset import ONNX_DOMAINS
from genai.runtime.adapt.graph import attributes_of, remove_unused

__all__ = ["AdaptedProduct", "add_adapters", "add_at_all_positions"]

_WEIGHT, _ORDER = ".weight", ".input_order"
_FIRST, _AXIS = "adapters.first_position", "adapters.position_axis"


@dataclass(frozen=True, slots=True)
class AdaptedProduct:
    """What a graph has to know of a product that adapters add to.

    Args:
        num_inputs: Columns of the first matrices.
        num_outputs: Columns of the second ones.
        mask: Number of the mask that fits its ranks.
        dtype: The element type.
    """

    num_inputs: int
    num_outputs: int
    mask: int
    dtype: np.dtype[Any]


def add_adapters(
    model: ModelProto,
    products: Mapping[str, AdaptedProduct],
    factors: Mapping[str, NDArray[np.float32]] | None = None,
) -> list[str]:
    """Change a graph, in place, so that adapters add to products.

    Args:
        model: The graph.
        products: The products, by what the names of their matrices begin with.
        factors: What the outputs of some nodes were multiplied by when the graph was adapted, float32 [outputs].

    Returns:
        The products that the graph does not have, or in another shape.
    """
    graph = model.graph
    found = dict(_products_of(graph))
    orders = {node.output[0]: node for node in graph.node if _is_reordering(node)}
    places = {node.output[0]: place for place, node in enumerate(graph.node)}
    added: dict[int, list[NodeProto]] = {}
    missing = []
    for name, product in products.items():
        node, *shape = found.get(name, (None,))
        if node is None or shape != [product.num_inputs, product.num_outputs]:
            missing.append(name)
            continue
        x = node.input[0]
        if x in orders:  # for the matrix alone, which was quantized in another order
            x = orders[x].input[0]
        factor = (factors or {}).get(node.output[0])
        place = places[node.output[0]]
        added[place] = list(_addition(graph, node, x, name, product, factor))
    rebuilt = [each for place, node in enumerate(graph.node) for each in (node, *added.get(place, ()))]
    del graph.node[:]
    graph.node.extend(rebuilt)
    for mask in sorted({product.mask for product in products.values()}):
        _add_input(graph, adapter_mask(mask), np.dtype(np.bool_), [BATCH_SIZE, 1, f"rank.{mask}"])
    for dtype in {product.dtype for product in products.values()}:
        graph.initializer.append(numpy_helper.from_array(np.zeros((), dtype), _zero(dtype)))
    _add_input(graph, ADAPTER_POSITIONS, np.dtype(np.int64), [1])
    for name, value in ((_FIRST, 0), (_AXIS, 1)):
        graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
    return missing


def add_at_all_positions(graph: GraphProto) -> None:
    """Let a graph's adapters add at all positions, also where they add nothing.

    A device runs the cut as a kernel of its own, in every step, and one that records runs does not see it change.
    """
    cuts = {node.output[0]: node for node in graph.node if ADAPTER_POSITIONS in node.input}
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in cuts:
                node.input[place] = cuts[name].input[0]
    if cuts:
        remove_unused(graph)


def _products_of(graph: GraphProto) -> Iterator[tuple[str, tuple[NodeProto, int, int]]]:
    """Yield products with stored matrices, by what the names of these begin with, and their inputs and outputs."""
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.name.endswith(_WEIGHT)}
    turned = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Transpose"}
    for node in graph.node:
        if len(node.input) < 2:
            continue
        weight = turned.get(node.input[1], node.input[1])
        if weight not in weights:
            continue
        name = weight.removesuffix(_WEIGHT)
        if MATMUL_NBITS.is_type_of(node.domain, node.op_type):
            attributes = attributes_of(node)
            yield name, (node, attributes["K"], attributes["N"])
        elif FUSED_MATMUL.is_type_of(node.domain, node.op_type) or (
            node.domain in ONNX_DOMAINS and node.op_type == "MatMul"
        ):
            shape = list(weights[weight].dims)
            if (weight != node.input[1]) != bool(
                attributes_of(node).get("transB")
            ):  # a tied head's embedding
                shape.reverse()
            yield name, (node, *shape)


def _is_reordering(node: NodeProto) -> bool:
    return node.op_type == "Gather" and node.input[1].endswith(_ORDER)


def _addition(
    graph: GraphProto,
    node: NodeProto,
    x: str,
    name: str,
    product: AdaptedProduct,
    factor: NDArray[np.float32] | None,
) -> Iterator[NodeProto]:
    """Yield the nodes that add to a product's output, and take over its name."""
    a, b = adapter_matrices(name)
    rank = f"rank.{product.mask}"
    _add_input(graph, a, product.dtype, [rank, product.num_inputs])
    _add_input(graph, b, product.dtype, [rank, product.num_outputs])
    output, alone = node.output[0], f"{node.output[0]}.alone"
    node.output[0] = alone
    # ONNX Runtime joins these two where the provider has a product with a transposed matrix.
    yield helper.make_node("Transpose", [a], [f"{a}.transposed"], name=f"{a}.turn", perm=[1, 0])
    yield helper.make_node("MatMul", [x, f"{a}.transposed"], [f"{a}.inner"], name=f"{a}.product")
    masked = [adapter_mask(product.mask), f"{a}.inner", _zero(product.dtype)]
    yield helper.make_node("Where", masked, [f"{a}.masked"], name=f"{a}.mask")
    wanted = [f"{a}.masked", _FIRST, ADAPTER_POSITIONS, _AXIS]
    yield helper.make_node("Slice", wanted, [f"{a}.wanted"], name=f"{a}.cut")
    yield helper.make_node("MatMul", [f"{a}.wanted", b], [f"{b}.outer"], name=f"{b}.product")
    outer = f"{b}.outer"
    if factor is not None:
        graph.initializer.append(numpy_helper.from_array(factor.astype(product.dtype), f"{b}.factor"))
        outer = f"{b}.scaled"
        yield helper.make_node("Mul", [f"{b}.outer", f"{b}.factor"], [outer], name=f"{b}.scale")
    yield helper.make_node("Add", [alone, outer], [output], name=f"{b}.add")


def _zero(dtype: np.dtype[Any]) -> str:
    return f"adapters.zero.{dtype.name}"


def _add_input(graph: GraphProto, name: str, dtype: np.dtype[Any], shape: Sequence[str | int]) -> None:
    graph.input.append(
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), list(shape))
    )
