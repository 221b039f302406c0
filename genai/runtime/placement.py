"""Which provider runs which node of a session, and what to say where an accelerator leaves some to the CPU.

ONNX Runtime's own record is read. Nodes that compute sizes belong on the CPU: their results are read there.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from genai.config import ACTIVATIONS, provider_form
from genai.errors import ProviderError
from genai.folder import Manifest, ModelFolder
from genai.runtime.providers import Provider

__all__ = ["RECORD", "Placement", "describe_left", "name_nodes", "read_placement", "report_placement"]

logger = logging.getLogger("genai.runtime")

RECORD = "session.record_ep_graph_assignment_info"
"""The entry of session options by which ONNX Runtime keeps the record."""

CPU = "CPUExecutionProvider"
INTEGERS = frozenset(
    getattr(TensorProto, name)
    for name in ("BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
)
SIZE_OPERATORS = frozenset({"Shape", "Size"})
SHOWN_OPERATORS = 5


@dataclass(frozen=True, slots=True)
class Placement:
    """How many nodes of each operator run on which provider.

    Args:
        operators: By ONNX Runtime's name of a provider: how many nodes of each operator it runs, but for those that
            compute sizes.
        num_size_nodes: How many compute sizes.
    """

    operators: Mapping[str, Counter[str]] = field(default_factory=dict)
    num_size_nodes: int = 0

    @property
    def num_nodes(self) -> int:
        """All nodes but those that compute sizes."""
        return sum(counter.total() for counter in self.operators.values())

    def left_to_cpu(self, provider: Provider) -> Counter[str]:
        """Return how many nodes of each operator run on the CPU instead of on a provider."""
        return Counter() if provider.ort_name == CPU else self.operators.get(CPU, Counter())


def name_nodes(model: ModelProto) -> frozenset[str]:
    """Give every node a name, and return the names of those that compute sizes: integers from integers or shapes."""
    graph = model.graph
    known = _integer_inputs(graph)
    names = set()
    for place, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type}_{place}"
        reads_integers = node.op_type in SIZE_OPERATORS or all(name in known for name in node.input if name)
        if reads_integers and _writes_integers(node):
            known.update(node.output)
            names.add(node.name)
    return frozenset(names)


def read_placement(session: Any, size_nodes: Iterable[str]) -> Placement:
    """Return the placement of a session's nodes; an ONNX Runtime before 1.24 keeps no record, and it is empty."""
    get_assignment = getattr(session, "get_provider_graph_assignment_info", list)
    sizes = frozenset(size_nodes)
    operators: dict[str, Counter[str]] = {}
    num_size_nodes = 0
    for subgraph in get_assignment():
        for node in subgraph.get_nodes():
            if node.op_type in SIZE_OPERATORS or node.name in sizes:
                num_size_nodes += 1
            else:
                operators.setdefault(subgraph.ep_name, Counter())[node.op_type] += 1
    return Placement(operators, num_size_nodes)


def report_placement(placement: Placement, provider: Provider, folder: ModelFolder, *, strict: bool) -> None:
    """Say in one line what a provider leaves to the CPU, in the log; or raise it, if strict.

    Raises:
        ProviderError: It leaves nodes to the CPU, and strict is true.
    """
    if (left := describe_left(placement, provider, folder)) is None:
        return
    if strict:
        raise ProviderError(left)
    logger.warning(left)


def describe_left(placement: Placement, provider: Provider, folder: ModelFolder) -> str | None:
    """Return what a provider leaves to the CPU, and what to do about it; None if it leaves nothing."""
    left = placement.left_to_cpu(provider)
    if not left:
        return None
    return (
        f"{provider.name} leaves {left.total()} of {placement.num_nodes} nodes of {folder.path} to the CPU "
        f"({_in_words(left)}), which is slow: {_repair(provider, folder.manifest, left)}"
    )


def _in_words(operators: Counter[str]) -> str:
    words = [f"{count} {name}" for name, count in operators.most_common(SHOWN_OPERATORS)]
    return ", ".join([*words, "..."] if len(operators) > SHOWN_OPERATORS else words)


def _repair(provider: Provider, manifest: Manifest | None, left: Counter[str]) -> str:
    """Return what to do, as a command where one helps."""
    if not provider.has_form:
        return f"genai has no export for {provider.name}; cpu runs every folder"
    form = provider_form(provider.name)
    command = f"--provider {provider.name}"
    if manifest is None:
        return f"export the checkpoint for it: genai export CHECKPOINT -o DIR {command}"
    is_in_fp32 = manifest.float_type == "fp32" and not form.half_only.isdisjoint(left)
    if manifest.provider == form.name and not is_in_fp32:
        return f"its kernels do not take them in {manifest.precision}, although the folder was made for {form.name}"
    precision = manifest.precision
    if precision in ACTIVATIONS:  # weights of floats decide on the activations
        precision = form.activations[0]
    if precision != "int4":
        command += f" --precision {precision}"
    return f"export the model for it: genai export {manifest.source} -o DIR {command}"


def _integer_inputs(graph: GraphProto) -> set[str]:
    """Return the names of all inputs and parameters that are integers."""
    inputs = {value.name for value in graph.input if value.type.tensor_type.elem_type in INTEGERS}
    return inputs | {tensor.name for tensor in graph.initializer if tensor.data_type in INTEGERS}


def _writes_integers(node: NodeProto) -> bool:
    """Whether a node that reads integers, or a shape, writes integers too."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type == "Cast":
        return attributes["to"].i in INTEGERS
    if node.op_type == "Constant":
        return "value_int" in attributes or "value_ints" in attributes or _is_integer(attributes.get("value"))
    if node.op_type == "ConstantOfShape":
        return _is_integer(attributes.get("value"))
    return True


def _is_integer(attribute: Any) -> bool:
    return attribute is not None and attribute.t.data_type in INTEGERS
