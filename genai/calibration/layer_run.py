"""Running the parts of a decoder over the calibration's tokens: what their matrices read, and what their caches hold."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from genai._version import __version__
from genai.calibration.parameters import Floats, Parameters
from genai.config import ExportSettings
from genai.export.architecture import DecoderSpec
from genai.export.build.decoder_parts import (
    HIDDEN_STATES,
    LAYER_OUTPUT,
    build_embeddings,
    build_head,
    build_layer,
)
from genai.export.build.graph_builder import GraphBuilder
from genai.export.build.precision import Precision
from genai.export.build.producers import Producer, norm_behind, writers_of
from genai.export.checkpoint.rows import SelectedRows
from genai.export.write.graph_writer import MODEL_FILE, write_graph
from genai.graph.axes import BATCH_SIZE, PAST_LENGTH, SEQUENCE_LENGTH
from genai.graph.names import ATTENTION_MASK, INPUT_IDS, KEY, LOGITS, VALUE
from genai.runtime.graph_run import GraphRun, open_graph

__all__ = [
    "CacheRun",
    "LayerRun",
    "ReadInput",
    "embed_tokens",
    "layer_outputs",
    "opened_head",
    "run_layer",
    "run_layer_cache",
]

_AXES = {BATCH_SIZE: 1, PAST_LENGTH: 0}
_EMBEDDING = "embedding.weight"


@dataclass(frozen=True, slots=True)
class ReadInput:
    """What some matrices of a layer read, over all tokens.

    Args:
        modules: The paths of all modules that read it.
        producer: What can be divided to make it smaller, if these modules are all that reads it.
        gram: The sum of x xᵀ over the tokens, float32 [inputs, inputs].
    """

    modules: tuple[str, ...]
    producer: Producer | None
    gram: Floats


@dataclass(frozen=True, slots=True)
class LayerRun:
    """What a layer read and computed.

    Args:
        inputs: What its matrices read.
        outputs: The hidden states after it, float32 [sequences, tokens, hidden_size].
    """

    inputs: Sequence[ReadInput]
    outputs: Floats


@dataclass(frozen=True, slots=True)
class CacheRun:
    """What a layer kept of the tokens, and computed.

    Args:
        peaks: How large each channel of each head's keys and values became, by the states' names: float32 [heads,
            head_dim], as `peaks_of` takes it of every sequence; nothing of a layer without keys and values.
        outputs: The hidden states after it, float32 [sequences, tokens, hidden_size].
    """

    peaks: Mapping[str, Floats]
    outputs: Floats


def embed_tokens(
    parameters: Parameters, spec: DecoderSpec, sequences: Sequence[NDArray[np.int64]], *, beside: Path
) -> Floats:
    """Return the hidden states before the first layer: float32 [sequences, tokens, hidden_size].

    Args:
        parameters: The decoder's parameters.
        spec: The decoder.
        sequences: Token ids, int64 [tokens] each, all as long.
        beside: A folder in which files can lie for a while.
    """
    used, rows = np.unique(np.stack(sequences), return_inverse=True)
    few = {**parameters, _EMBEDDING: SelectedRows(parameters[_EMBEDDING], used)}
    graph = GraphBuilder(_floats(), few)
    build_embeddings(graph, spec)
    with _opened(graph, beside) as run:
        hidden = [run({INPUT_IDS: ids[None], **_mask(len(ids))})[HIDDEN_STATES][0] for ids in rows]
    return np.stack(hidden)


def run_layer(
    parameters: Parameters,
    spec: DecoderSpec,
    index: int,
    hidden: Floats,
    *,
    beside: Path,
) -> LayerRun:
    """Run a layer over all sequences.

    Args:
        parameters: The decoder's parameters.
        spec: The decoder.
        index: Which layer.
        hidden: The hidden states before it, float32 [sequences, tokens, hidden_size].
        beside: A folder in which files can lie for a while.
    """
    graph = GraphBuilder(_floats(), parameters)
    build_layer(graph, spec, index)
    read = _add_outputs(graph, writers_of(spec.layers[index], f"layers.{index}", parameters))

    def add_products(found: Mapping[str, NDArray[Any]]) -> None:
        for name, each in read.items():
            x = found[name].reshape(-1, each.gram.shape[0])
            np.add(each.gram, x.T @ x, out=each.gram)

    outputs = _run_over(graph, hidden, beside, look=add_products)
    return LayerRun(list(read.values()), outputs)


def layer_outputs(
    parameters: Parameters, spec: DecoderSpec, index: int, hidden: Floats, *, beside: Path
) -> Floats:
    """Return the hidden states after a layer, without a look at what its matrices read; arguments as `run_layer`'s."""
    graph = GraphBuilder(_floats(), parameters)
    build_layer(graph, spec, index)
    return _run_over(graph, hidden, beside)


@contextmanager
def opened_head(
    parameters: Parameters, spec: DecoderSpec, *, beside: Path
) -> Iterator[Callable[[Floats], Floats]]:
    """Give, for the block, what turns hidden states after the last layer into logits: [tokens, hidden_size] to [tokens, vocab_size]."""
    graph = GraphBuilder(_floats(), parameters)
    build_head(graph, spec)
    with _opened(graph, beside) as run:
        yield lambda hidden: run({HIDDEN_STATES: hidden[None]})[LOGITS][0]


def run_layer_cache(
    parameters: Parameters,
    spec: DecoderSpec,
    index: int,
    hidden: Floats,
    peaks_of: Callable[[str, Floats], Floats],
    *,
    beside: Path,
) -> CacheRun:
    """Run a layer over all sequences, as `run_layer` does, and look at its keys and values.

    Args:
        parameters: The decoder's parameters.
        spec: The decoder.
        index: Which layer.
        hidden: The hidden states before it, float32 [sequences, tokens, hidden_size].
        peaks_of: From a state's name and its content over a sequence, float32 [heads, tokens, head_dim], to how large
            its channels are, float32 [heads, head_dim].
        beside: A folder in which files can lie for a while.
    """
    graph = GraphBuilder(_floats(), parameters)
    presents = build_layer(graph, spec, index)
    kept = [name for name in (KEY, VALUE) if name in presents]
    for name in kept:
        graph.output(
            presents[name], name, ir.DataType.FLOAT, (BATCH_SIZE, "heads", SEQUENCE_LENGTH, "head_dim")
        )
    peaks: dict[str, Floats] = {}

    def raise_peaks(found: Mapping[str, NDArray[Any]]) -> None:
        for name in kept:
            each = peaks_of(name, found[name][0])
            peaks[name] = np.maximum(peaks.get(name, each), each)

    outputs = _run_over(graph, hidden, beside, look=raise_peaks)
    return CacheRun(peaks, outputs)


def _run_over(
    graph: GraphBuilder,
    hidden: Floats,
    beside: Path,
    *,
    look: Callable[[Mapping[str, NDArray[Any]]], None] | None = None,
) -> Floats:
    """Run a layer's graph over each sequence, look at its outputs, and return the hidden states after it."""
    pasts = {str(value.name): _empty(value) for value in graph.inputs}
    outputs = np.empty_like(hidden)
    with _opened(graph, beside) as run:
        for place, states in enumerate(hidden):
            found = run({**pasts, HIDDEN_STATES: states[None], **_mask(len(states))})
            outputs[place] = found[LAYER_OUTPUT][0]
            if look is not None:
                look(found)
    return outputs


def _floats() -> Precision:
    return Precision.of(ExportSettings("fp32"))


def _mask(length: int) -> dict[str, NDArray[Any]]:
    return {ATTENTION_MASK: np.ones((1, length), np.int64)}


def _empty(value: ir.Value) -> NDArray[Any]:
    """Return what stands for a past before the first token: no positions, and states of zeros."""
    assert value.shape is not None
    assert value.dtype is not None
    shape = [axis if isinstance(axis, int) else _AXES.get(str(axis.value), 0) for axis in value.shape]
    return np.zeros(shape, value.dtype.numpy())


def _add_outputs(g: GraphBuilder, writers: Mapping[str, Producer]) -> dict[str, ReadInput]:
    """Make outputs of what the graph's matrices read; return what is known of each before it ran."""
    modules: dict[ir.Value, list[str]] = {}
    num_products: dict[ir.Value, int] = {}
    for tap in g.taps:
        modules.setdefault(tap.value, []).extend(tap.modules)
        num_products[tap.value] = num_products.get(tap.value, 0) + 1
    read = {}
    for place, (value, names) in enumerate(modules.items()):
        producer = None
        if len(value.uses()) == num_products[value]:
            producer = writers.get(names[0]) or norm_behind(g, value)
        size = g.parameters[f"{names[0]}.weight"].shape[1]
        name = f"read.{place}"
        read[name] = ReadInput(tuple(names), producer, np.zeros((size, size), np.float32))
        shape = (BATCH_SIZE, "positions", size)
        g.output(g.op("Identity", [value]), name, ir.DataType.FLOAT, shape)
    return read


@contextmanager
def _opened(graph: GraphBuilder, beside: Path) -> Iterator[GraphRun]:
    """Write a graph to a folder that is there only for the block, and open it."""
    with tempfile.TemporaryDirectory(dir=beside, ignore_cleanup_errors=True) as folder:
        write_graph(graph, Path(folder), producer="genai", version=__version__)
        yield open_graph(Path(folder) / MODEL_FILE)
