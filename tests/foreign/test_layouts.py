"""Folders laid out as Optimum and transformers.js lay them out, around small graphs with the same inputs and outputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from genai.folder import ModelFolder
from tests.foreign.external_data import save_with_external_data
from tests.foreign.reference import greedy_by_genai, make_prompts
from tests.runtime.tiny_graphs import (
    CONTEXT,
    HEADS,
    VOCAB,
    WIDTH,
    Reference,
    TinyGraph,
    branching_attention,
    folded_attention,
    fused_attention,
    growing_attention,
    shared_attention,
)

Block = Callable[[TinyGraph, int], str]

LLAMA = {
    "model_type": "llama",
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "max_position_embeddings": CONTEXT,
    "eos_token_id": 0,
}
GPT2 = {
    "model_type": "gpt2",
    "vocab_size": VOCAB,
    "n_embd": WIDTH,
    "n_layer": 2,
    "n_head": HEADS,
    "n_positions": CONTEXT,
    "eos_token_id": 0,
}
BLOOM = {**GPT2, "model_type": "bloom", "n_positions": None, "seq_length": CONTEXT}
BIGCODE = {**GPT2, "model_type": "gpt_bigcode", "multi_query": True}
JS = {
    **LLAMA,
    "transformers.js_config": {"kv_cache_dtype": {"fp16": "float16"}, "use_external_data_format": True},
}


def graph(block: Block, *, positions: bool = True, num_logits: bool = False) -> onnx.ModelProto:
    """Return a decoder of two layers; some graphs are fed positions, and how many logits to compute."""
    tiny = TinyGraph(head="kept" if num_logits else "plain")
    if positions:
        tiny.inputs["position_ids"] = "int64[batch_size, sequence_length]"
    if num_logits:
        tiny.inputs["num_logits_to_keep"] = "int64[1]"
    return tiny.add(block).add(block).model()


def tracing_attention(tiny: TinyGraph, layer: int) -> str:
    """Attention traced with one token: new tokens hide nothing from one another."""
    mixed = branching_attention(tiny, layer)
    del tiny.inputs["use_cache_branch"]
    tiny.weights["use_cache_branch"] = np.array([True])
    return mixed


def named_as_gpt_bigcode(model: onnx.ModelProto) -> onnx.ModelProto:
    """Call the fused cache `past_key_values.0.key_value`, as Optimum did."""
    renamed = {
        value.name: f"{value.name}.key_value"
        for value in (*model.graph.input, *model.graph.output)
        if value.name.startswith(("past_key_values", "present"))
    }
    for values in (model.graph.input, model.graph.output):
        for value in values:
            value.name = renamed.get(value.name, value.name)
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    return model


# What a folder holds, and which of its files is to run.
LAYOUTS: dict[str, tuple[dict[str, Any], dict[str, Callable[[], onnx.ModelProto]], str]] = {
    "optimum": (LLAMA, {"model.onnx": lambda: graph(growing_attention)}, "model.onnx"),
    "optimum without position_ids": (
        GPT2,
        {"model.onnx": lambda: graph(growing_attention, positions=False)},
        "model.onnx",
    ),
    "optimum, two graphs merged": (
        GPT2,
        {
            "decoder_model.onnx": lambda: graph(growing_attention),
            "decoder_with_past_model.onnx": lambda: graph(growing_attention),
            "decoder_model_merged.onnx": lambda: graph(branching_attention),
        },
        "decoder_model_merged.onnx",
    ),
    "optimum, two graphs": (
        GPT2,
        {
            "decoder_model.onnx": lambda: graph(growing_attention),
            "decoder_with_past_model.onnx": lambda: graph(tracing_attention),
        },
        "decoder_with_past_model.onnx",
    ),
    "optimum, bloom": (BLOOM, {"model.onnx": lambda: graph(folded_attention)}, "model.onnx"),
    "optimum, gpt_bigcode": (
        BIGCODE,
        {"model.onnx": lambda: named_as_gpt_bigcode(graph(fused_attention))},
        "model.onnx",
    ),
    "transformers.js": (
        JS,
        {
            "onnx/model.onnx": lambda: graph(growing_attention),
            "onnx/model_q4.onnx": lambda: graph(shared_attention, num_logits=True),
        },
        "onnx/model_q4.onnx",
    ),
    "transformers.js, old": (
        JS,
        {
            "onnx/decoder_model_merged.onnx": lambda: graph(branching_attention),
            "onnx/decoder_model_merged_quantized.onnx": lambda: graph(branching_attention),
        },
        "onnx/decoder_model_merged_quantized.onnx",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_runs_unmodified(name: str, tmp_path: Path) -> None:
    config, graphs, expected = LAYOUTS[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    for path, make in graphs.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        save_with_external_data(make(), tmp_path / path, num_files=1 + path.count("/"))
    folder = ModelFolder.load(tmp_path)
    assert (folder.decoder.filename, folder.decoder.context_length) == (expected, CONTEXT)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    prompts = make_prompts(VOCAB, (5, 17, 1, 70))
    # A graph that was traced with one token is itself no reference; what it would be otherwise stands beside it.
    reference = Reference(graphs.get("decoder_model.onnx", graphs[expected])())
    assert folder.eos_token_ids == (0,)
    assert greedy_by_genai(tmp_path, prompts, 12) == [_greedy(reference, prompt, 12) for prompt in prompts]
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def _greedy(reference: Reference, prompt: list[int], num_new: int) -> list[int]:
    """Continue a prompt from scratch at every token, without the end of text."""
    ids = list(prompt)
    for _ in range(num_new):
        ids.append(1 + int(reference(ids)[-1][1:].argmax()))
    return ids[len(prompt) :]
