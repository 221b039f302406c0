"""How positions have turned what a decoder caches, read off its folder's graph when somebody first wants to move it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from genai.cache import Rotation
from genai.errors import GenaiError, OptionError
from genai.folder import ModelFolder
from genai.runtime.adapt import KeyRotation, NotMovableError, find_key_rotations, read_values
from genai.runtime.adapted_graph import AdaptedGraph
from genai.runtime.graph_interface import CachePort
from genai.runtime.ort import RUN_ERRORS, onnxruntime

__all__ = ["read_rotations"]

UNREADABLE: tuple[type[Exception], ...] = (GenaiError, OSError, ValueError, *RUN_ERRORS)
"""What comes of a folder that has changed since it was loaded."""


def read_rotations(
    folder: ModelFolder, ports: Sequence[CachePort], *, max_context: int
) -> tuple[Rotation | None, ...]:
    """Return how positions turn each of a cache's tensors.

    Args:
        folder: The model folder.
        ports: The tensors.
        max_context: Most positions that a sequence has.

    Raises:
        OptionError: They cannot be moved to other positions, and why not.
    """
    try:
        for port in ports:
            _check_port(port)
        stages = [stage for stage in folder.decoder.stages if stage.run_on_token_gen]
        adapted = AdaptedGraph.of_folder(folder, stages, max_context)
        if adapted.facts.rope_switch_length is not None:
            raise NotMovableError("its positions turn keys otherwise in long sequences (LongRoPE)")
        found = find_key_rotations(adapted.model.graph)
        if missing := [port.past for port in ports if port.past not in found]:
            raise NotMovableError(f"it is not GroupQueryAttention that reads {missing[0]}")
        if not any(found.values()):
            raise NotMovableError(
                "its keys are not rotated by their positions (RoPE), which it learns or knows otherwise"
            )
        tables = _Tables(adapted.model, adapted.weights, max_context)
        return tuple(tables.rotation(found[port.past], port.tensor.inner) for port in ports)
    except NotMovableError as error:
        raise OptionError(f'context_policy="shift" is not possible with this model: {error}') from error
    except UNREADABLE as error:
        raise OptionError(
            f'context_policy="shift" is not possible: the graph cannot be read again: {error}'
        ) from error


def _check_port(port: CachePort) -> None:
    tensor = port.tensor
    if not tensor.per_position:
        raise NotMovableError(
            "its layers have states (linear attention, convolutions), of which no token can be taken out"
        )
    if np.dtype(tensor.dtype).kind in "iu":
        raise NotMovableError(
            "its cache holds codes, which cannot be turned; export it without --kv-precision int8"
        )
    if port.axes[-1] is None:
        raise NotMovableError("its cache has positions last")


class _Tables:
    """The tables of a graph, each computed once.

    Args:
        model: The graph.
        weights: The folder that the names of its weights count from.
        num_positions: Rows that are wanted.
    """

    def __init__(self, model: ModelProto, weights: Path, num_positions: int) -> None:
        self._model = model
        self._weights = weights
        self._num_positions = num_positions
        self._known: dict[tuple[str, str], Sequence[npt.NDArray[np.float32]]] = {}

    def rotation(self, found: KeyRotation | None, width: int) -> Rotation | None:
        """Return what turns keys of so many elements."""
        if found is None:
            return None
        names = found.cos, found.sin
        if names not in self._known:
            self._known[names] = [values[: self._num_positions] for values in self._compute(names)]
        cos, sin = self._known[names]
        first = width - 2 * cos.shape[1] if found.is_at_end else 0
        return Rotation(cos, sin, found.interleaved, first)

    def _compute(self, names: Sequence[str]) -> Sequence[npt.NDArray[np.float32]]:
        """Compute constants of the graph, as it does itself when it is loaded."""
        graph = self._model.graph
        nodes, initializers = _what_gives(graph, names)
        part = helper.make_graph(
            [
                *nodes,
                *(
                    helper.make_node("Cast", [name], [f"{name}.float"], to=TensorProto.FLOAT)
                    for name in names
                ),
            ],
            "tables",
            [],
            [helper.make_tensor_value_info(f"{name}.float", TensorProto.FLOAT, None) for name in names],
            [
                numpy_helper.from_array(np.array(read_values(tensor, self._weights)), tensor.name)
                for tensor in initializers
            ],
        )
        model = helper.make_model(
            part, opset_imports=self._model.opset_import, ir_version=self._model.ir_version
        )
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        tables: Sequence[npt.NDArray[np.float32]] = session.run(None, {})
        return tables


def _what_gives(graph: GraphProto, names: Sequence[str]) -> tuple[Sequence[NodeProto], Sequence[TensorProto]]:
    """Return the nodes and initializers that some values are made of.

    Raises:
        NotMovableError: They are made of the graph's inputs, too.
    """
    needed = set(names)
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    inputs = {value.name for value in graph.input}
    if changing := needed & inputs:
        raise NotMovableError(f"its positions turn keys by what {min(changing)} is, too")
    return nodes[::-1], [tensor for tensor in graph.initializer if tensor.name in needed]
