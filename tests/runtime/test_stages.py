"""Decoders that are split into several files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.utils import Extractor

from genai.errors import ModelFolderError
from genai.folder import StageConfig
from genai.runtime import Decoder
from tests.runtime.test_any_graph import graph_of
from tests.runtime.tiny_graphs import Reference, TinyGraph, convolution, shared_attention, write_folder
from tests.spans import decode, prefill, score

IDS = [3, 1, 4, 1, 5, 9, 2, 6]


def cut(graph: TinyGraph) -> list[tuple[StageConfig, onnx.ModelProto]]:
    """Return a graph in three files: embedding, layers, head; what lies between has other names on both sides."""
    model = graph.model()
    inputs, outputs = ([value.name for value in values] for values in (model.graph.input, model.graph.output))
    layers_inputs = [name for name in inputs if name != "input_ids"]
    parts = [
        ("embed", ["input_ids"], ["hidden"], {"hidden": "inputs_embeds"}),
        ("layers", ["hidden", *layers_inputs], [*outputs[1:], graph.hidden], {}),
        ("head", [graph.hidden], ["logits"], {}),
    ]
    stages = []
    for name, reads, gives, forwarded in parts:
        part = Extractor(_with_types(model)).extract_model(reads, gives)
        if name == "layers":
            _rename(part, "hidden", "inputs_embeds")
            reads = ["inputs_embeds", *layers_inputs]
        stage = StageConfig(name, f"{name}.onnx", tuple(reads), tuple(gives), forwarded=forwarded)
        stages.append((stage, part))
    return stages


def _with_types(model: onnx.ModelProto) -> onnx.ModelProto:
    inferred = onnx.ModelProto()
    inferred.CopyFrom(model)
    known = {value.name for value in (*model.graph.input, *model.graph.output)}
    names = {output for node in model.graph.node for output in node.output} - known
    inferred.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", "sequence", "width"])
        for name in names
    )
    return inferred


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
    for value in model.graph.input:
        value.name = new if value.name == old else value.name


def load(path: Path, stages: list[tuple[StageConfig, onnx.ModelProto]]) -> Decoder:
    for _, model in stages:
        del model.graph.value_info[:]
    folder = write_folder(
        path, {stage.filename: model for stage, model in stages}, stages=tuple(stage for stage, _ in stages)
    )
    return Decoder(folder, num_threads=1)


def check(decoder: Decoder, expected: np.ndarray) -> None:
    first, second = decoder.cache.acquire([1]), decoder.cache.acquire([2])
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(score(decoder, first, IDS), expected, atol=1e-5)
    decoder.cache.truncate(first, 0)
    prefill(decoder, first, IDS[:4])
    prefill(decoder, second, IDS[:6])
    rows = decode(decoder, [IDS[4], IDS[6]])
    np.testing.assert_allclose(rows, expected[[4, 6]], atol=1e-5)


def test_stages_run_as_one_graph(tmp_path: Path) -> None:
    graph = graph_of(convolution, shared_attention)
    check(load(tmp_path, cut(graph)), Reference(graph.model())(IDS))


def test_prompts_and_tokens_may_have_stages_of_their_own(tmp_path: Path) -> None:
    graph = graph_of(shared_attention, shared_attention)
    embed, layers, head = cut(graph)
    on_tokens = replace(layers[0], name="token", filename="token.onnx", run_on_prompt=False)
    stages = [
        embed,
        (replace(layers[0], run_on_token_gen=False), layers[1]),
        (on_tokens, cut(graph)[1][1]),
        head,
    ]
    decoder = load(tmp_path, stages)
    assert decoder._prompts is not decoder._session
    check(decoder, Reference(graph.model())(IDS))


def test_stages_with_different_caches_are_refused(tmp_path: Path) -> None:
    one, two = (cut(graph_of(*[shared_attention] * count)) for count in (1, 2))
    stages = [
        (replace(stage, filename=f"prompt_{stage.filename}", run_on_token_gen=False), model)
        for stage, model in one
    ] + [(replace(stage, run_on_prompt=False), model) for stage, model in two]
    with pytest.raises(ModelFolderError, match="different caches"):
        load(tmp_path, stages)


def test_stages_of_different_opsets_are_refused(tmp_path: Path) -> None:
    stages = cut(graph_of(shared_attention))
    stages[1][1].opset_import[0].version = 20
    with pytest.raises(ModelFolderError, match=r"layers\.onnx needs version 20"):
        load(tmp_path, stages)


def test_weights_of_a_stage_lie_beside_it(tmp_path: Path) -> None:
    graph = graph_of(shared_attention)
    stages = cut(graph)
    moved = replace(stages[2][0], filename="deep/head.onnx")
    (tmp_path / "deep").mkdir()
    model = stages[2][1]
    expected = Reference(graph.model())(IDS)
    onnx.save(
        model,
        tmp_path / "deep" / "head.onnx",
        save_as_external_data=True,
        location="head.bin",
        size_threshold=0,
    )
    folder = write_folder(
        tmp_path,
        {stage.filename: part for stage, part in stages[:2]},
        stages=(stages[0][0], stages[1][0], moved),
    )
    check(Decoder(folder, num_threads=1), expected)
