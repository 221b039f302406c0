"""Keys and values stacked in front of the batch, [2, batch, heads, positions, width], taken apart.

The slots of a cache are rows of its first axis, so that the batch has to be that. The graph itself goes on with the
stacked tensor, put together from the two inputs and taken apart into the two outputs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, ValueInfoProto, helper, numpy_helper

from genai.graph.names import KEY, VALUE, LayerState

__all__ = ["split_stacked_caches"]

NUM_AXES = 5
AXES_ARE_AN_INPUT = 13
"""The opset since which Unsqueeze takes its axes as an input."""


def split_stacked_caches(graph: GraphProto, opset: int) -> None:
    """Replace every stacked past and present by a key and a value each, in place."""
    outputs = {value.name: value for value in graph.output}
    for past in list(graph.input):
        match = re.fullmatch(r"past(?:_key_values)?[._](\d+)", past.name)
        if match is None or not _is_stacked(past):
            continue
        present = outputs.get(re.sub(r"^past(_key_values)?", "present", past.name))
        if present is not None:
            _split(graph, past, present, int(match[1]), opset)


def _is_stacked(value: ValueInfoProto) -> bool:
    dims = value.type.tensor_type.shape.dim
    return len(dims) == NUM_AXES and dims[0].dim_value == 2


def _split(graph: GraphProto, past: ValueInfoProto, present: ValueInfoProto, layer: int, opset: int) -> None:
    states = (LayerState(layer, KEY), LayerState(layer, VALUE))
    stacked = [f"{state.past}.stacked" for state in states]
    before, after = [], []
    for index, state in enumerate(states):
        before.append(_unsqueeze(state.past, stacked[index], opset))
        place = f"{present.name}.{state.part}.index"
        graph.initializer.append(numpy_helper.from_array(np.array(index, np.int64), place))
        after.append(helper.make_node("Gather", [present.name, place], [state.present], axis=0))
    if opset >= AXES_ARE_AN_INPUT:
        axes = numpy_helper.from_array(np.array([0], np.int64), f"{stacked[0]}.axes")
        graph.initializer.append(axes)
        for node in before:
            node.input.append(axes.name)
    before.append(helper.make_node("Concat", stacked, [past.name], axis=0))
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    _replace_port(graph.input, past, [state.past for state in states])
    _replace_port(graph.output, present, [state.present for state in states])


def _unsqueeze(source: str, target: str, opset: int) -> NodeProto:
    if opset >= AXES_ARE_AN_INPUT:
        return helper.make_node("Unsqueeze", [source], [target])
    return helper.make_node("Unsqueeze", [source], [target], axes=[0])


def _replace_port(ports: Any, port: ValueInfoProto, names: Sequence[str]) -> None:
    """Put ports of one axis less in a port's place."""
    for name in names:
        part = ports.add()
        part.CopyFrom(port)
        part.name = name
        del part.type.tensor_type.shape.dim[0]
    ports.remove(port)
