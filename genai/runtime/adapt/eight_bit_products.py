"""Products of many rows in 8 bits: the same graph with another arithmetic, for prompts and batches.

MatMulNBits unpacks its weights for every few rows; with one row the reading of weights is all there is to it, with many it
computes at a third to a half of what the processor's 8-bit instructions do. MatMulIntegerToFloat reaches nine tenths. It
takes a matrix of bytes with one scale for each output, and rows of uint8 around 128, which share one scale; so each row is
brought to the same largest magnitude before, and its product multiplied by what that took:

    largest = max |row|;  codes = round(127 row / largest) + 128;  product = (codes - 128) W / 127 * largest

A row of zeros has codes of no meaning, which are multiplied by 0.

A gated feed-forward block leaves out one of these: what `down` reads is the product of the activated gate and of up, a
common factor of a row changes none of its codes, and so the row's factor of up is only multiplied where that of `down` is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from genai.graph.operators import MATMUL_NBITS
from genai.graph.opset import MICROSOFT
from genai.runtime.adapt.graph import (
    attributes_of,
    find_float_constant,
    operands,
    opset_of,
    remove_unused,
)

__all__ = [
    "WEIGHTS_MIDDLE",
    "BlockMatrix",
    "EightBitMatrix",
    "num_block_weights",
    "rounds_activations",
    "to_eight_bit_products",
]

WEIGHTS_MIDDLE = "eight_bit.weights_middle"
"""The initializer of the code that stands for zero in every matrix, of the type of its codes: int8 or uint8."""

_ONE, _MIDDLE, _LARGEST_CODE, _STEP, _LAST_AXIS = (
    f"eight_bit.{name}" for name in ("one", "middle", "largest_code", "step", "last_axis")
)
_BITS = (4, 8)
_INTEGER_PRODUCTS = frozenset({"DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat"})
_INTEGER_ACTIVATIONS = 4  # of accuracy_level: what asks for more precise products keeps them


@dataclass(frozen=True, slots=True)
class BlockMatrix:
    """The constant matrix of a MatMulNBits.

    Args:
        num_rows: Its outputs.
        num_columns: Its inputs.
        bits: Of a code.
        block_size: Weights per scale.
        codes: The codes, packed.
        scales: The scales, float16 or float32.
        zero_points: The zero points, packed; `None` for the middle one.
    """

    num_rows: int
    num_columns: int
    bits: int
    block_size: int
    codes: TensorProto
    scales: TensorProto
    zero_points: TensorProto | None


@dataclass(frozen=True, slots=True)
class EightBitMatrix:
    """Some rows of a matrix that a graph wants to read as codes [num_columns, rows] of int8 or uint8, with a scale for each row.

    Args:
        name: The initializer of the codes; that of the scales ends in ".scales".
        source: The matrix.
        start: The first row.
        stop: The row after the last.
    """

    name: str
    source: BlockMatrix
    start: int
    stop: int

    @property
    def nbytes(self) -> int:
        """Bytes of the codes."""
        return self.source.num_columns * (self.stop - self.start)

    @property
    def scales(self) -> str:
        """The initializer of the scales."""
        return f"{self.name}.scales"


def num_block_weights(graph: GraphProto) -> int:
    """Return how many weights MatMulNBits multiplies by: at least as many as products of 8 bits would have."""
    numbers = [
        attributes_of(node) for node in graph.node if MATMUL_NBITS.is_type_of(node.domain, node.op_type)
    ]
    return sum(each.get("K", 0) * each.get("N", 0) for each in numbers)


def rounds_activations(graph: GraphProto) -> bool:
    """Whether products round what they multiply by weights to 8 bits, each row by itself, so that little things grow."""
    return any(
        node.op_type in _INTEGER_PRODUCTS
        or (
            MATMUL_NBITS.is_type_of(node.domain, node.op_type)
            and attributes_of(node).get("accuracy_level") == _INTEGER_ACTIVATIONS
        )
        for node in graph.node
    )


def to_eight_bit_products(model: ModelProto) -> list[EightBitMatrix]:
    """Change a graph, in place, so that its products are of 8 bits, as far as they can be.

    Returns:
        The matrices that it reads now, whose initializers whoever makes them adds, with `WEIGHTS_MIDDLE`; none where
        nothing was to change.
    """
    rewriting = _Rewriting(model)
    if rewriting.blocks:
        rewriting.rewrite()
        remove_unused(model.graph)
    return rewriting.matrices


@dataclass(frozen=True, slots=True)
class _Gated:
    """A feed-forward block's two products in one: rows of the gate, then as many of up.

    Args:
        split: The node that takes them apart.
        gate: What it calls the gate.
        up: And up.
        product: The node that multiplies the activated gate by up.
    """

    split: NodeProto
    gate: str
    up: str
    product: NodeProto


class _Rewriting:
    """The graph while it is changed: what is known of it, the new nodes, and the factors that rows still want."""

    def __init__(self, model: ModelProto) -> None:
        self._graph = model.graph
        self._axes_are_operands = opset_of(model) >= 18  # of ReduceMax
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self._producers = {output: node for node in model.graph.node for output in node.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in model.graph.node:
            for operand in operands(node):
                self._readers.setdefault(operand, []).append(node)
        self._outputs = {output.name for output in model.graph.output}
        self._nodes: list[NodeProto] = []
        self._rows: dict[str, tuple[str, str]] = {}
        self._owed: dict[str, str] = {}
        self.matrices: list[EightBitMatrix] = []
        self.blocks = {
            node.output[0]: block
            for node in model.graph.node
            if (block := self._block_matrix(node)) is not None
        }

    def rewrite(self) -> None:
        """Put products of 8 bits in the place of every MatMulNBits that can be one."""
        skipped: set[str] = set()
        for node in self._graph.node:
            block = self.blocks.get(node.output[0])
            if node.output[0] in skipped:
                continue
            if block is None:
                self._nodes.append(node)
            elif (gated := self._gated(node)) is not None:
                self._add_gated(node, block, gated)
                skipped.add(gated.split.output[0])
            else:
                self._add_product(node, block)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        self._graph.initializer.extend(_constants())

    def _block_matrix(self, node: NodeProto) -> BlockMatrix | None:
        """Return the matrix that a node multiplies by in 8 bits as well as in its own; `None` if there is none."""
        if not MATMUL_NBITS.is_type_of(node.domain, node.op_type):
            return None
        numbers = attributes_of(node)
        bits = numbers.get("bits", 4)
        points = MATMUL_NBITS.find("zero_points", node.input)
        codes = self._initializers.get(MATMUL_NBITS.find("B", node.input) or "")
        scales = find_float_constant(
            MATMUL_NBITS.find("scales", node.input) or "", self._producers, self._initializers
        )
        zero_points = self._initializers.get(points or "")
        if (
            bits not in _BITS
            or numbers.get("accuracy_level") != _INTEGER_ACTIVATIONS
            or MATMUL_NBITS.find("g_idx", node.input)
            or codes is None
            or codes.data_type != TensorProto.UINT8
            or scales is None
            or (points and (zero_points is None or zero_points.data_type != TensorProto.UINT8))
        ):
            return None
        return BlockMatrix(
            numbers["N"], numbers["K"], bits, numbers["block_size"], codes, scales, zero_points
        )

    def _gated(self, node: NodeProto) -> _Gated | None:
        """Return what a product of gate and up goes through, if nothing but that of `down` reads the outcome."""
        split = self._only_reader(node.output[0], "Split")
        if split is None or len(split.output) != 2 or MATMUL_NBITS.find("bias", node.input):
            return None
        gate, up = split.output
        product = self._only_reader(up, "Mul")
        if product is None or not self._halves(split, attributes_of(node)["N"]):
            return None
        down = self._only_reader(product.output[0], MATMUL_NBITS.op_type)
        return None if down is None or down.output[0] not in self.blocks else _Gated(split, gate, up, product)

    def _halves(self, split: NodeProto, size: int) -> bool:
        """Whether a node is known to cut the last axis, of this size, in the middle."""
        attributes = {attribute.name: attribute for attribute in split.attribute}
        if "axis" not in attributes or attributes["axis"].i != -1:
            return False
        if len(split.input) < 2:
            sizes = list(attributes["split"].ints) if "split" in attributes else [size // 2] * 2
        else:
            tensor = self._initializers.get(split.input[1])
            if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
                return False
            sizes = [int(each) for each in numpy_helper.to_array(tensor)]
        return 2 * sizes[0] == 2 * sizes[1] == size

    def _only_reader(self, value: str, op_type: str) -> NodeProto | None:
        readers = self._readers.get(value, [])
        if value in self._outputs or len(readers) != 1 or readers[0].op_type != op_type:
            return None
        return readers[0]

    def _add_gated(self, node: NodeProto, block: BlockMatrix, gated: _Gated) -> None:
        """Multiply by gate and by up; the rows' factors of up are owed to whoever reads the product of both."""
        codes, factors = self._quantized(node.input[0])
        middle = block.num_rows // 2
        gate = EightBitMatrix(f"eight_bit.{node.output[0]}.gate", block, 0, middle)
        unscaled = self._integer_product(codes, gate, f"eight_bit.{gated.gate}.unscaled")
        self._add("Mul", [unscaled, factors], gated.gate)
        up = EightBitMatrix(f"eight_bit.{node.output[0]}.up", block, middle, block.num_rows)
        self._integer_product(codes, up, gated.up)
        self._owed[gated.product.output[0]] = factors

    def _add_product(self, node: NodeProto, block: BlockMatrix) -> None:
        output = node.output[0]
        codes, factors = self._quantized(node.input[0])
        matrix = EightBitMatrix(f"eight_bit.{output}.matrix", block, 0, block.num_rows)
        product = self._integer_product(codes, matrix, f"eight_bit.{output}.unscaled")
        bias = MATMUL_NBITS.find("bias", node.input)
        scaled = output if bias is None else f"eight_bit.{output}.without_bias"
        self._add("Mul", [product, factors], scaled)
        if bias is not None:
            self._add("Add", [scaled, bias], output)

    def _integer_product(self, codes: str, matrix: EightBitMatrix, output: str) -> str:
        """Multiply codes by a matrix: float32 [..., rows], without the factors of the codes' rows."""
        self.matrices.append(matrix)
        inputs = [codes, matrix.name, _STEP, matrix.scales, _MIDDLE, WEIGHTS_MIDDLE]
        return self._add("MatMulIntegerToFloat", inputs, output, domain=MICROSOFT)

    def _quantized(self, x: str) -> tuple[str, str]:
        """Return a value's codes, uint8 [..., inputs], and the factors of its rows, float32 [..., 1]."""
        if x not in self._rows:
            magnitudes = self._add("Abs", [x], f"eight_bit.{x}.magnitudes")
            largest = self._largest(magnitudes, f"eight_bit.{x}.largest")
            inverse = self._add("Div", [_LARGEST_CODE, largest], f"eight_bit.{x}.inverse")
            scaled = self._add("Mul", [x, inverse], f"eight_bit.{x}.scaled")
            codes = self._add("QuantizeLinear", [scaled, _ONE, _MIDDLE], f"eight_bit.{x}.codes")
            factors = largest
            if x in self._owed:
                factors = self._add("Mul", [largest, self._owed[x]], f"eight_bit.{x}.factors")
            self._rows[x] = codes, factors
        return self._rows[x]

    def _largest(self, x: str, output: str) -> str:
        if self._axes_are_operands:
            return self._add("ReduceMax", [x, _LAST_AXIS], output, keepdims=1)
        return self._add("ReduceMax", [x], output, keepdims=1, axes=[-1])

    def _add(
        self, op_type: str, inputs: list[str], output: str, *, domain: str = "", **attributes: Any
    ) -> str:
        self._nodes.append(
            helper.make_node(op_type, inputs, [output], name=f"{output}.node", domain=domain, **attributes)
        )
        return output


def _constants() -> Iterator[TensorProto]:
    for name, value in (
        (_ONE, np.float32(1)),
        (_MIDDLE, np.uint8(128)),
        (_LARGEST_CODE, np.float32(127)),
        (_STEP, np.float32(1 / 127)),
        (_LAST_AXIS, np.array([-1])),
    ):
        yield numpy_helper.from_array(np.asarray(value), name)
