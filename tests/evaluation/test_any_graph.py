"""The checks of the structure take every kind of graph that the runtime takes."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from genai.evaluation.graphs import read_graphs
from genai.evaluation.structure import check_graph, check_interface, check_opset, check_weights
from genai.folder import GraphNames, ModelFolder
from tests.runtime.test_any_graph import KINDS, graph_of
from tests.runtime.test_stages import cut
from tests.runtime.tiny_graphs import convolution, shared_attention, write_folder


def problems_of(folder: ModelFolder) -> list[str]:
    graphs = read_graphs(folder)
    checks = (
        check_graph(folder, graphs),
        check_opset(graphs),
        check_weights(graphs),
        check_interface(folder, graphs),
    )
    return [f"{check.name}: {check.detail}" for check in checks if check.status != "ok"]


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_graphs(tmp_path: Path, kind: str) -> None:
    folder = write_folder(tmp_path, {"model.onnx": KINDS[kind]().model()}, num_layers=3)
    assert problems_of(folder) == []


def test_a_decoder_in_several_files(tmp_path: Path) -> None:
    stages = cut(graph_of(convolution, shared_attention))
    for _, model in stages:
        del model.graph.value_info[:]
    models = {stage.filename: model for stage, model in stages}
    folder = write_folder(tmp_path, models, stages=tuple(stage for stage, _ in stages))
    assert problems_of(folder) == []
    layers = models["layers.onnx"]
    present = next(value for value in layers.graph.output if value.name.endswith("conv_state"))
    layers.graph.output.remove(present)
    onnx.save(layers, tmp_path / "layers.onnx")
    [problem] = problems_of(folder)
    assert problem.startswith("interface: ")
    assert f"{present.name} is missing" in problem


def test_names_of_the_makers_own(tmp_path: Path) -> None:
    model = graph_of(shared_attention).model()
    for value in (*model.graph.input, *model.graph.output):
        new = value.name.replace("past_key_values.0.", "k_0_").replace("logits", "scores")
        for node in model.graph.node:
            node.input[:] = [new if name == value.name else name for name in node.input]
            node.output[:] = [new if name == value.name else name for name in node.output]
        value.name = new
    names = GraphNames(past_key="k_%d_key", past_value="k_%d_value", logits="scores")
    assert problems_of(write_folder(tmp_path, {"m.onnx": model}, num_layers=1, names=names)) == []
    [problem] = problems_of(write_folder(tmp_path, {"m.onnx": model}, num_layers=1))
    assert 'there is no output "logits"' in problem
    assert "past_key_values.0.key is missing" in problem
