"""Layers with states or masks of their own, or with another layer's cache: batches, types, stored layouts, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file, save_file

from genai.errors import UnsupportedModelError
from genai.export import export_model
from genai.folder import ModelFolder
from tests.checkpoints import VOCAB_SIZE, load_reference, make_checkpoint
from tests.export.runner import GraphRunner

FAMILIES = (
    "bailing_hybrid",
    "gemma3n_text",
    "gemma4_text",
    "jamba",
    "kimi_linear",
    "lfm2",
    "llama4_text",
    "mamba",
    "mamba2",
    "minimax",
    "olmo_hybrid",
    "qwen3_5_text",
    "qwen3_next",
    "recurrent_gemma",
    "rwkv",
    "zamba2",
)
Tensors = dict[str, np.ndarray]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_is_computed_as_alone(family: str, tmp_path: Path) -> None:
    """Two rows of one length with the states of their own, over a prompt and then token by token."""
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    folder = export_model(checkpoint, tmp_path / "model", precision="fp32")
    rows = np.random.default_rng(2).integers(3, VOCAB_SIZE, (2, 19))
    with torch.no_grad():
        expected = load_reference(checkpoint)(torch.tensor(rows)).logits.numpy()
    session = GraphRunner(folder).session
    states = {
        value.name: np.zeros(
            [2 if n == "batch_size" else n if isinstance(n, int) else 0 for n in value.shape], "f4"
        )
        for value in session.get_inputs()
        if value.name.startswith("past_key_values.")
    }
    found = []
    for start, stop in [(0, 15), *((step, step + 1) for step in range(15, 19))]:
        feeds = {
            **states,
            "input_ids": rows[:, start:stop],
            "attention_mask": np.ones((2, stop), np.int64),
            "num_logits_to_keep": np.asarray([stop - start], np.int64),
        }
        outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))
        found.append(outputs["logits"])
        states = {name: outputs[name.replace("past_key_values", "present")] for name in states}
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, atol=1e-4, rtol=0)


def test_linear_attention_remembers_over_many_chunks(tmp_path: Path) -> None:
    """Longer than the blocks of 64 in which transformers computes a prompt."""
    checkpoint = make_checkpoint("qwen3_5_text", tmp_path / "checkpoint")
    folder = export_model(checkpoint, tmp_path / "model", precision="fp32")
    tokens = np.random.default_rng(4).integers(3, VOCAB_SIZE, 170).tolist()
    with torch.no_grad():
        expected = load_reference(checkpoint)(torch.tensor([tokens])).logits[0].numpy()
    runner = GraphRunner(folder, capacity=170)
    found = np.concatenate([runner.feed(tokens[:130]), runner.feed(tokens[130:])])
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def test_recurrent_states_are_float32_in_half_precision(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("qwen3_5_text", tmp_path / "checkpoint")
    folder = export_model(checkpoint, tmp_path / "model", precision="fp16")
    graph = onnx.load(folder.model_path, load_external_data=False).graph
    types = {
        value.name: (
            value.type.tensor_type.elem_type,
            [d.dim_value for d in value.type.tensor_type.shape.dim[1:]],
        )
        for value in (*graph.input, *graph.output)
    }
    for time in ("past_key_values", "present"):
        assert types[f"{time}.0.conv_state"] == (onnx.TensorProto.FLOAT16, [2 * 2 * 16 + 6 * 24, 3])
        assert types[f"{time}.0.recurrent_state"] == (onnx.TensorProto.FLOAT, [6, 16, 24])
        assert types[f"{time}.1.key"][0] == onnx.TensorProto.FLOAT16


def test_filters_of_different_widths_are_read_as_published(tmp_path: Path) -> None:
    """Where values are wider than keys, transformers saves the filters cut in the wrong places, as it reads them."""
    checkpoint = make_checkpoint("olmo_hybrid", tmp_path / "checkpoint", linear_value_head_dim=40)
    prompt = np.random.default_rng(2).integers(3, VOCAB_SIZE, (1, 19))
    with torch.no_grad():
        expected = load_reference(checkpoint)(torch.tensor(prompt)).logits[0].numpy()
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    for layer in (0, 2):
        names = [f"model.layers.{layer}.linear_attn.{name}_conv1d.weight" for name in "qkv"]
        joined = np.concatenate([tensors[name] for name in names])
        tensors |= zip(names, np.split(joined, [3 * 24, 2 * 3 * 24]), strict=True)
    save_file(tensors, path)
    folder = export_model(checkpoint, tmp_path / "model", precision="fp32")
    np.testing.assert_allclose(GraphRunner(folder).feed(prompt[0].tolist()), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("factor", [1.0, 300.0])
def test_exponents_of_any_size_are_averaged(factor: float, tmp_path: Path) -> None:
    """RWKV's weights are exponentials of keys: of hundreds, too, where only the largest counts, and of minus hundreds."""
    checkpoint = make_checkpoint("rwkv", tmp_path / "checkpoint")
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    tensors |= {
        name: array * np.float32(factor)
        for name, array in tensors.items()
        if name.endswith("attention.key.weight")
    }
    save_file(tensors, path, {"format": "pt"})
    prompt = np.random.default_rng(2).integers(3, VOCAB_SIZE, 40).tolist()
    with torch.no_grad():
        expected = load_reference(checkpoint)(torch.tensor([prompt])).logits[0].numpy()
    runner = GraphRunner(export_model(checkpoint, tmp_path / "model", precision="fp32"))
    found = [
        runner.feed(prompt[:20]),
        runner.feed(prompt[20:38]),
        *(runner.feed([token]) for token in prompt[38:]),
    ]
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-4, rtol=0)


def test_layers_that_read_a_cache_have_none(tmp_path: Path) -> None:
    checkpoint = make_checkpoint("gemma4_text", tmp_path / "checkpoint")
    folder = export_model(checkpoint, tmp_path / "model", precision="fp32")
    graph = onnx.load(folder.model_path, load_external_data=False).graph
    layers = {
        int(value.name.split(".")[1]) for value in graph.input if value.name.startswith("past_key_values")
    }
    assert layers == {0, 1, 2}


def test_the_folder_names_short_convolutions(tmp_path: Path) -> None:
    """onnxruntime-genai asks for the layers' types and for the names of the states, and has other default names."""
    checkpoint = make_checkpoint("lfm2", tmp_path / "checkpoint")
    folder = export_model(checkpoint, tmp_path / "model", precision="fp32")
    decoder = json.loads((folder.path / "genai_config.json").read_text())["model"]["decoder"]
    assert decoder["layer_types"] == ["conv", "full_attention", "conv", "conv"]
    assert decoder["inputs"]["past_conv_names"] == "past_key_values.%d.conv_state"
    assert decoder["outputs"]["present_conv_names"] == "present.%d.conv_state"
    assert ModelFolder.load(folder.path).decoder.layer_types == tuple(decoder["layer_types"])


def within_multimodal(tensors: Tensors) -> Tensors:
    """The names that a text model's tensors have within the multimodal model."""
    return {name.replace("model.", "model.language_model.", 1): array for name, array in tensors.items()}


def with_vision(tensors: Tensors) -> Tensors:
    return within_multimodal(tensors) | {"model.visual.blocks.0.norm1.weight": np.ones(3, np.float32)}


def with_more_predictions(tensors: Tensors) -> Tensors:
    return tensors | {"mtp.fc.weight": np.ones((3, 3), np.float32)}


def with_stacked_experts(tensors: Tensors) -> Tensors:
    """Experts in one tensor each for gate and up, and for down, as the original repositories have them."""
    stacked = {name: array for name, array in tensors.items() if ".experts." not in name}
    for layer in range(3):
        module = f"model.layers.{layer}.mlp.experts"
        gates, ups, downs = (
            [tensors[f"{module}.{expert}.{name}_proj.weight"] for expert in range(6)]
            for name in ("gate", "up", "down")
        )
        pairs = [np.concatenate(pair) for pair in zip(gates, ups, strict=True)]
        stacked |= {f"{module}.gate_up_proj": np.stack(pairs), f"{module}.down_proj": np.stack(downs)}
    return stacked


def with_unused_keys(tensors: Tensors) -> Tensors:
    """Keys and values of a layer that reads another one's, and a vision tower."""
    unused = {f"model.layers.4.self_attn.{name}_proj.weight": np.ones((16, 48), np.float32) for name in "kv"}
    return within_multimodal(tensors | unused) | {"model.vision_tower.x": np.ones(3, np.float32)}


def within_llama4(tensors: Tensors) -> Tensors:
    """The names within Llama 4's multimodal model, and a vision tower."""
    return {f"language_model.{name}": array for name, array in tensors.items()} | {
        "vision_model.layernorm_pre.weight": np.ones(3, np.float32)
    }


def with_experts_apart(tensors: Tensors) -> Tensors:
    """A matrix for each of Llama 4's experts, as tools that quantize them one by one write them."""
    apart = {name: array for name, array in tensors.items() if ".experts." not in name}
    for name, array in tensors.items():
        module, _, kind = name.rpartition(".")
        if not module.endswith(".experts"):
            continue
        for expert, matrix in enumerate(array):
            parts = dict(zip(("gate_proj", "up_proj"), np.split(matrix, 2, axis=1), strict=True))
            for part, columns in (parts if kind == "gate_up_proj" else {kind: matrix}).items():
                apart[f"{module}.{expert}.{part}.weight"] = np.ascontiguousarray(columns.T)
    return apart


LAYOUTS: dict[str, tuple[str, str | None, Callable[[Tensors], Tensors]]] = {
    "qwen 3.5, multimodal": ("qwen3_5_text", "Qwen3_5ForConditionalGeneration", with_vision),
    "qwen 3.5, more predictions": ("qwen3_5_text", None, with_more_predictions),
    "qwen 3.5, stacked experts": ("qwen3_5_moe_text", None, with_stacked_experts),
    "gemma 3n, multimodal": ("gemma3n_text", "Gemma3nForConditionalGeneration", with_unused_keys),
    "gemma 4, multimodal": ("gemma4_text", "Gemma4ForConditionalGeneration", with_unused_keys),
    "llama 4, multimodal": ("llama4_text", "Llama4ForConditionalGeneration", within_llama4),
    "llama 4, experts apart": ("llama4_text", None, with_experts_apart),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_layouts_of_a_checkpoint_give_the_same_model(layout: str, tmp_path: Path) -> None:
    family, architecture, rearrange = LAYOUTS[layout]
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    expected = export_model(checkpoint, tmp_path / "expected", precision="int4")
    path = checkpoint / "model.safetensors"
    save_file(rearrange(load_file(path)), path)
    if architecture is not None:
        config = json.loads((checkpoint / "config.json").read_text())
        outer = {"architectures": [architecture], "text_config": config}
        (checkpoint / "config.json").write_text(json.dumps(outer))
    found = export_model(checkpoint, tmp_path / "found", precision="int4")
    assert found.manifest is not None
    assert expected.manifest is not None
    assert found.manifest.files["model.onnx.data"] == expected.manifest.files["model.onnx.data"]
    assert found.manifest.files["model.onnx"] == expected.manifest.files["model.onnx"]


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("lfm2", {"layer_types": ["conv", "mamba", "conv", "conv"]}, 'asks for "mamba"'),
        ("qwen3_5_text", {"layer_types": ["linear_attention"] * 2}, "names 2 layers, but there are 3"),
        ("qwen3_5_text", {"hidden_act": "relu"}, '"hidden_act" is "relu"'),
        ("gemma4_text", {"use_bidirectional_attention": "all"}, "cannot see later ones"),
        ("gemma4_text", {"num_kv_shared_layers": 3}, 'no layer of type "full_attention" its own keys'),
        ("gemma3n_text", {"num_kv_shared_layers": 5}, "its own keys"),
        ("llama4_text", {"num_experts_per_tok": 2}, "weights of several experts on what they read"),
        ("llama4_text", {"attention_chunk_size": None}, "layers attend within chunks"),
        ("llama4_text", {"layer_types": ["sliding_attention"] * 4}, 'asks for "sliding_attention"'),
        ("mamba", {"rms_norm": False}, "transformers ignores the key"),
        ("mamba", {"hidden_act": "gelu"}, '"hidden_act" is "gelu"'),
        ("mamba", {"time_step_rank": "half"}, '"time_step_rank" is "half"'),
        ("mamba2", {"time_step_limit": [0.001, 0.1]}, "limits the time steps"),
        ("jamba", {"sliding_window": 7}, "windows cannot be exported"),
        ("jamba", {"mamba_inner_layernorms": False}, "transformers ignores the key"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    family: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(family, tmp_path / "checkpoint")
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(UnsupportedModelError, match=message):
        export_model(checkpoint, tmp_path / "model", precision="fp32")
