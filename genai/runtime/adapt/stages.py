"""A decoder that is split into several files, put together again: one graph, in which each stage feeds the next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from onnx import GraphProto, ModelProto, ValueInfoProto

from genai.errors import ModelFolderError
from genai.folder import StageConfig
from genai.runtime.adapt.graph import rename_values, subgraphs_of
from genai.runtime.adapt.weights import external_locations

__all__ = ["join_stages"]


def join_stages(stages: Sequence[tuple[StageConfig, ModelProto]]) -> ModelProto:
    """Return one model of all stages, in order; the stages' own protobufs are used up.

    A stage's input is what an earlier stage gives under that name (its own, or the one it forwards it by), else the
    model's. The model's outputs are those that no later stage reads.

    Raises:
        ModelFolderError: The stages need different versions of the same operators.
    """
    joined = ModelProto()
    given: dict[str, str] = {}
    outputs: dict[str, tuple[str, ValueInfoProto]] = {}
    for place, (stage, model) in enumerate(stages):
        _join_opsets(joined, model, stage)
        graph = model.graph
        renamed = {name: f"stage{place}/{name}" for name in _values(graph)}
        inputs = {value.name: value for value in graph.input if value.name not in _initializers(graph)}
        for name, value in inputs.items():
            renamed[name] = given.get(name, name)
            outputs.pop(renamed[name], None)
            if name not in given and all(each.name != name for each in joined.graph.input):
                joined.graph.input.append(value)
        rename_values(graph, renamed)
        _move_external_data(graph, PurePosixPath(stage.filename).parent)
        for node in graph.node:
            node.name = node.name and f"stage{place}/{node.name}"
        joined.graph.node.extend(graph.node)
        joined.graph.initializer.extend(graph.initializer)
        known = {(function.domain, function.name) for function in joined.functions}
        joined.functions.extend(each for each in model.functions if (each.domain, each.name) not in known)
        for output in graph.output:
            own = output.name.removeprefix(f"stage{place}/")
            given[stage.forwarded.get(own, own)] = output.name
            outputs[output.name] = (stage.forwarded.get(own, own), output)
    joined.graph.output.extend(output for _, output in outputs.values())
    rename_values(joined.graph, {output.name: name for name, output in outputs.values()})
    joined.ir_version = max(model.ir_version for _, model in stages)
    joined.graph.name = "stages"
    return joined


def _values(graph: GraphProto) -> Iterator[str]:
    """Yield the names of everything that a graph makes or holds."""
    for node in graph.node:
        yield from (name for name in node.output if name)
        for subgraph in subgraphs_of(node):
            yield from _values(subgraph)
    yield from _initializers(graph)


def _initializers(graph: GraphProto) -> set[str]:
    return {tensor.name for tensor in graph.initializer} | {
        tensor.values.name for tensor in graph.sparse_initializer
    }


def _join_opsets(joined: ModelProto, model: ModelProto, stage: StageConfig) -> None:
    versions = {opset.domain: opset.version for opset in joined.opset_import}
    for opset in model.opset_import:
        if versions.setdefault(opset.domain, opset.version) != opset.version:
            raise ModelFolderError(
                f"{stage.filename} needs version {opset.version} of the operators of "
                f'"{opset.domain or "ai.onnx"}", an earlier stage version {versions[opset.domain]}: export the model '
                "again, in one graph or with one opset"
            )
    known = {opset.domain for opset in joined.opset_import}
    joined.opset_import.extend(opset for opset in model.opset_import if opset.domain not in known)


def _move_external_data(graph: GraphProto, folder: PurePosixPath) -> None:
    """Count the files of weights from the model folder, not from a stage's own."""
    for entry in external_locations(graph):
        entry.value = str(folder / entry.value)
