"""Attention by the plain kernel gives what the tiled one gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, helper

from genai.folder import ModelFolder
from genai.runtime import Decoder, session
from genai.runtime.adapt import attend_plainly
from genai.runtime.adapted_graph import AdaptedGraph
from tests.spans import decode

Folders = Callable[..., tuple[Path, Path]]

FAMILIES = ["llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "gpt_oss", "olmo2"]
"""Packed queries, with a bias, with norms, with a cap on scores, with windows, with sinks, with norms over all heads."""


def changed_layers(adapted: AdaptedGraph, *, num_threads: int = 1) -> list[bool]:
    """Adapt a graph; say of each attention whether it scales nothing any more."""
    attend_plainly(adapted.model, adapted.weights, num_threads=num_threads)
    return [_scale(node) == 1 for node in adapted.model.graph.node if node.op_type == "GroupQueryAttention"]


def _scale(node: NodeProto) -> float:
    return next(helper.get_attribute_value(each) for each in node.attribute if each.name == "scale")


def adapted_graph(folder: Path) -> AdaptedGraph:
    return AdaptedGraph.of_folder(ModelFolder.load(folder), [], None)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_the_same(model_folder: Folders, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = model_folder(family, precision="int4")[1]

    def open_decoder(*, is_plain: bool) -> Decoder:
        adapted = adapted_graph(path)
        if is_plain:
            assert all(changed_layers(adapted))
        for node in adapted.model.graph.node:
            for attribute in node.attribute:
                if attribute.name == "accuracy_level":
                    attribute.i = 0  # activations of 8 bits would round the least difference up
        monkeypatch.setattr(AdaptedGraph, "of_folder", lambda *_: adapted)
        return Decoder(ModelFolder.load(path), optimize_for="memory")

    tiled, plain = (open_decoder(is_plain=each) for each in (False, True))
    for decoder in (tiled, plain):
        for _ in range(2):
            decoder.cache.acquire([])
    for step, row in enumerate(np.random.default_rng(0).integers(3, 50, (20, 2)).tolist()):
        count = 1 if step < 5 else 2  # the rows' lengths differ
        expected, ours = (decode(decoder, row[:count]) for decoder in (tiled, plain))
        np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


def test_it_is_for_two_graphs_whose_runs_of_prompts_stay_short(
    model_folder: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(session, "attend_plainly", lambda *_, num_threads: seen.append(num_threads))
    folder = ModelFolder.load(model_folder("llama", precision="int4")[1])
    Decoder(folder, optimize_for="memory", num_threads=1)
    assert not seen
    Decoder(folder, optimize_for="speed", num_threads=1)
    assert seen == [1, 1]


def test_a_head_size_that_is_only_named_is_found(model_folder: Folders) -> None:
    adapted = adapted_graph(model_folder("qwen2", precision="int4")[1])
    for port in adapted.model.graph.input:
        if port.name.startswith("past_key_values."):
            port.type.tensor_type.shape.dim[-1].dim_param = "size"
    assert all(changed_layers(adapted))


def test_more_threads_than_heads_share_out_a_sequence(model_folder: Folders) -> None:
    assert not any(changed_layers(adapted_graph(model_folder("llama", precision="int4")[1]), num_threads=64))


def test_queries_of_floats_stay_as_they_are(model_folder: Folders) -> None:
    assert not any(changed_layers(adapted_graph(model_folder("llama")[1])))
