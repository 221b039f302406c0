"""Element types of values that an exporter left undeclared, as far as the passes need them."""

from __future__ import annotations

import onnx_ir as ir

from genai.graph.opset import ONNX_DOMAINS

__all__ = ["declare_types"]

BOOLEAN = frozenset(
    ("And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not", "Or", "Xor")
)
LIKE_FIRST = """
    Abs Add Clip Concat Cos CumSum Div Erf Exp Expand Flatten Gather GatherElements GatherND Gelu Gemm Identity
    LayerNormalization Log MatMul Max Min Mod Mul Neg Pow Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceSum
    Relu Reshape RMSNormalization ScatterElements ScatterND Sigmoid Sign Sin Slice Softmax Split Sqrt Squeeze Sub Sum
    Tanh Tile Transpose Trilu Unsqueeze
"""


def declare_types(graph: ir.Graph) -> None:
    """Set the element type of every value for which it follows from its operands."""
    for node in graph:
        dtype = _output_type(node)
        for output in node.outputs:
            if output.dtype is None and dtype is not None:
                output.dtype = dtype


def _output_type(node: ir.Node) -> ir.DataType | None:
    if node.domain not in ONNX_DOMAINS:
        return None
    if node.op_type == "Cast":
        return ir.DataType(node.attributes.get_int("to"))
    if node.op_type in ("Shape", "Size", "ArgMax"):
        return ir.DataType.INT64
    if node.op_type in BOOLEAN:
        return ir.DataType.BOOL
    if node.op_type == "ConstantOfShape":
        value = node.attributes.get_tensor("value", None)
        return ir.DataType.FLOAT if value is None else value.dtype
    place = 1 if node.op_type == "Where" else 0
    operand = node.inputs[place] if place < len(node.inputs) else None
    if operand is None or not (node.op_type == "Where" or node.op_type in LIKE_FIRST.split()):
        return None
    return operand.dtype
