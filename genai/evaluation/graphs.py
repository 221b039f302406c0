"""A folder's ONNX files without their weights: which there are, what goes in and out, what precision they have.

Knows the protobuf and nothing of sessions, so it works where no ONNX Runtime is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from genai.errors import ModelFolderError
from genai.folder import ModelFolder
from genai.graph.names import parse_past
from genai.graph.operators import MATMUL_NBITS, QMOE

__all__ = ["INT8_ACTIVATIONS", "FolderGraphs", "nodes_of", "num_bytes_of", "read_graphs", "tensors_of"]

INT8_ACTIVATIONS = 4
"""The `accuracy_level` of MatMulNBits and QMoE that rounds activations to 8 bits."""

# By name: older releases of onnx do not have all of these.
_BITS_BELOW_A_BYTE = {
    TensorProto.DataType.Value(name): bits
    for name, bits in {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}.items()
    if name in TensorProto.DataType.keys()  # noqa: SIM118 (a protobuf enumeration is no mapping)
}
_FLOATS: dict[int, str] = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
}
_INT8_OPERATORS = frozenset(
    {"DynamicQuantizeLinear", "MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul"}
)


@dataclass(frozen=True, slots=True)
class FolderGraphs:
    """The ONNX files of a folder.

    Args:
        models: The protobufs without external weights, by path; in the order in which they run.
        inputs: What must be fed from outside, by the name that genai uses.
        outputs: What comes out, by the name that genai uses.
    """

    models: dict[Path, ModelProto]
    inputs: dict[str, ValueInfoProto]
    outputs: dict[str, ValueInfoProto]

    @property
    def precision(self) -> str:
        """What the weights are stored in: "int4", "int8", or the float type of most of their bytes."""
        bits = {bits for model in self.models.values() for bits in _quantized_bits(model.graph)}
        if bits:
            return "int8" if min(bits) == 8 else "int4"
        sizes: dict[int, int] = dict.fromkeys(_FLOATS, 0)
        for model in self.models.values():
            for tensor in tensors_of(model.graph):
                if tensor.data_type in sizes:
                    sizes[tensor.data_type] += num_bytes_of(tensor)
        return _FLOATS[max(sizes, key=lambda kind: sizes[kind])]

    @property
    def rounds_activations(self) -> bool:
        """Whether products round what they multiply to 8 bits, so that float error becomes steps of a code."""
        levels = (_accuracy_level(node) for node in self._nodes())
        return self.multiplies_integers or INT8_ACTIVATIONS in levels

    @property
    def multiplies_integers(self) -> bool:
        """Whether there are products that cannot but round what they multiply."""
        return any(node.op_type in _INT8_OPERATORS for node in self._nodes())

    @property
    def cache_precision(self) -> str | None:
        """The float type of the keys and values; None if they are kept in codes, or there are none."""
        types = {
            v.type.tensor_type.elem_type for name, v in self.inputs.items() if parse_past(name) is not None
        }
        return _FLOATS.get(types.pop()) if len(types) == 1 else None

    @property
    def has_coded_cache(self) -> bool:
        """Whether keys and values are codes of 8 bits."""
        pasts = [value for name, value in self.inputs.items() if parse_past(name) is not None]
        return any(past.type.tensor_type.elem_type == TensorProto.INT8 for past in pasts)

    @property
    def num_bytes(self) -> int:
        """Bytes of the ONNX files and of the files beside them that hold their weights."""
        files = set(self.models)
        for path, model in self.models.items():
            entries = (entry for tensor in tensors_of(model.graph) for entry in tensor.external_data)
            files |= {path.parent / entry.value for entry in entries if entry.key == "location"}
        return sum(file.stat().st_size for file in files if file.is_file())

    def _nodes(self) -> Iterator[NodeProto]:
        for model in self.models.values():
            yield from nodes_of(model.graph)


def read_graphs(folder: ModelFolder) -> FolderGraphs:
    """Read a folder's ONNX files without their external weights.

    Raises:
        ModelFolderError: One of them is missing or is not an ONNX model.
    """
    names = [stage.filename for stage in folder.decoder.stages] or [folder.decoder.filename]
    models = {folder.path / name: _read(folder.path / name) for name in names}
    inputs: dict[str, ValueInfoProto] = {}
    outputs: dict[str, ValueInfoProto] = {}
    forwarded = {old: new for stage in folder.decoder.stages for old, new in stage.forwarded.items()}
    for model in models.values():
        initialized = {tensor.name for tensor in model.graph.initializer}
        inputs |= {v.name: v for v in model.graph.input if v.name not in initialized | outputs.keys()}
        outputs |= {forwarded.get(v.name, v.name): v for v in model.graph.output}
    renamed = folder.decoder.names.canonical([*inputs, *outputs])
    return FolderGraphs(
        models,
        {renamed.get(name, name): value for name, value in inputs.items()},
        {renamed.get(name, name): value for name, value in outputs.items()},
    )


def tensors_of(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield every constant of a graph and its subgraphs."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            for subgraph in (attribute.g, *attribute.graphs):
                yield from tensors_of(subgraph)


def nodes_of(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield every node of a graph and its subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):
                yield from nodes_of(subgraph)


def num_bytes_of(tensor: TensorProto) -> int:
    """Return how many bytes a tensor's elements take, packed where several share a byte."""
    count = 1
    for size in tensor.dims:
        count *= size
    bits = _BITS_BELOW_A_BYTE.get(tensor.data_type)
    if bits is None:
        bits = 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return -(-count * bits // 8)


def _read(path: Path) -> ModelProto:
    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise ModelFolderError(
            f"{path}: cannot be read as an ONNX model ({error}); export it again"
        ) from error
    if not model.HasField("graph"):
        raise ModelFolderError(f"{path}: holds no graph, so it is no ONNX model; export it again")
    return model


def _quantized_bits(graph: GraphProto) -> Iterator[int]:
    """Yield the width of the weights of every node that multiplies with quantized ones."""
    for node in nodes_of(graph):
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == MATMUL_NBITS.op_type:
            yield attributes["bits"].i if "bits" in attributes else 4
        elif node.op_type == "MatMulBnb4":
            yield 4
        elif node.op_type == QMOE.op_type:
            yield attributes["expert_weight_bits"].i if "expert_weight_bits" in attributes else 4
        elif node.op_type in _INT8_OPERATORS:
            yield 8


def _accuracy_level(node: NodeProto) -> int | None:
    return next((each.i for each in node.attribute if each.name == "accuracy_level"), None)
