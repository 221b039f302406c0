"""Folders that onnxruntime-genai's builder made, run unmodified: the tokens are those of onnxruntime-genai itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genai import Generator
from genai.folder import ModelFolder
from tests.checkpoints import VOCAB_SIZE, load_reference, make_checkpoint
from tests.foreign.reference import (
    build_with_onnxruntime_genai,
    greedy_by_genai,
    greedy_by_onnxruntime_genai,
    make_prompts,
)
from tests.hub_server import redirected, serve

LONG_ROPE: dict[str, Any] = {
    "original_max_position_embeddings": 32,
    "rope_parameters": {
        "rope_type": "longrope",
        "type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 8,
        "long_factor": [1.5] * 8,
        "partial_rotary_factor": 0.5,
    },
}
DENSE: dict[str, Any] = {
    "layer_types": ["attention"] * 3,
    "num_local_experts": 0,
    "position_embedding_type": "rope",
}
# The builder takes Granite 4 without Mamba layers and experts only. It looks for phi3's two rotary tables unless both lengths agree; mistral's window it writes for a cache of the
# window's length that the graph does not keep, and cannot run that itself.
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "granitemoehybrid": ("granitemoehybrid", DENSE),
    "mistral": ("mistral", {"sliding_window": None}),
    "phi3": ("phi3", {"original_max_position_embeddings": 256}),
    "phi3-longrope": ("phi3", LONG_ROPE),
}

Build = Callable[..., Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """A function that builds a folder of a random checkpoint of a family, once; the checkpoint lies beside it."""
    made: dict[tuple[str, ...], Path] = {}

    def make(name: str, precision: str, *options: str) -> Path:
        family, overrides = CONFIGS.get(name, (name, {}))
        key = (name, precision, *options)
        if key not in made:
            root = tmp_path_factory.mktemp(name)
            checkpoint = make_checkpoint(family, root / "checkpoint", **overrides)
            made[key] = build_with_onnxruntime_genai(checkpoint, root / "model", precision, *options)
        return made[key]

    return make


def slow(family: str, precision: str = "fp32", options: tuple[str, ...] = ()) -> Any:
    return pytest.param(family, precision, options, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("family", "precision", "options"),
    [
        ("llama", "fp32", ()),
        ("llama", "int4", ()),
        ("llama", "fp32", ("prune_lm_head=true",)),
        ("qwen2", "int4", ("shared_embeddings=true",)),
        ("qwen3", "fp32", ()),
        ("phi3", "int4", ()),
        ("gemma2", "fp32", ()),
        ("lfm2", "fp32", ()),
        ("granitemoehybrid", "fp32", ()),
        slow("llama", "int4", ("use_qdq=true",)),
        slow("qwen2"),
        slow("phi"),
        slow("phi3"),
        slow("gemma2", "int4"),
        slow("mistral"),
        slow("gemma"),
        slow("ernie4_5"),
        slow("granite"),
        slow("hunyuan_v1_dense"),
        slow("nemotron"),
        slow("olmo"),
        slow("lfm2_moe"),
    ],
)
def test_the_same_tokens_as_its_maker(
    build: Build, family: str, precision: str, options: tuple[str, ...]
) -> None:
    folder = build(family, precision, *options)
    prompts = make_prompts(VOCAB_SIZE)
    assert greedy_by_genai(folder, prompts, is_rounded=precision == "int4") == [
        greedy_by_onnxruntime_genai(folder, prompt) for prompt in prompts
    ]


@pytest.mark.parametrize("scheme", ["int8_per_channel", "int8_per_tensor", "int4_per_channel"])
def test_a_cache_of_codes(tmp_path: Path, scheme: str) -> None:
    """Whose scales the maker takes from a file."""
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint")
    config = json.loads((checkpoint / "config.json").read_text())
    width = config["num_key_value_heads"] * config["head_dim"] if scheme.endswith("channel") else 1
    scales = [[4 / (127 if scheme.startswith("int8") else 7)] * width] * config["num_hidden_layers"]
    file = tmp_path / "scales.json"
    file.write_text(json.dumps({"scales": {"k_scales": scales, "v_scales": scales}}))
    options = (f"kv_cache_quant_scheme={scheme}", f"kv_cache_scale_file={file}")
    folder = build_with_onnxruntime_genai(checkpoint, tmp_path / "model", "fp32", *options)
    prompts = make_prompts(VOCAB_SIZE)
    expected = [greedy_by_onnxruntime_genai(folder, prompt) for prompt in prompts]
    assert greedy_by_genai(folder, prompts) == expected


def test_two_tables_of_rotary_positions(build: Build) -> None:
    """Rows on both sides of the length where the table changes run together, each with its own."""
    folder = build("phi3-longrope", "fp32")
    prompts = make_prompts(VOCAB_SIZE, (5, 40, 12, 33))
    expected = [greedy_by_onnxruntime_genai(folder, prompt, 19) for prompt in prompts]
    assert greedy_by_genai(folder, prompts, 19) == expected


def test_a_sequence_that_outgrows_the_short_table(build: Build) -> None:
    """The maker recomputes such a sequence at 4097 tokens only, whatever the model; transformers does it where due."""
    folder = build("phi3-longrope", "fp32")
    prompt = make_prompts(VOCAB_SIZE, (20,))[0]
    reference = load_reference(folder.parent / "checkpoint")
    found = greedy_by_genai(folder, [prompt], 30)[0]
    for length in range(len(prompt), len(prompt) + 30):
        sequence = (prompt + found)[:length]
        with torch.no_grad():
            logits = reference(torch.tensor([sequence])).logits[0, -1]
        logits[2] = -torch.inf  # the end of text, which the run above does not take
        assert found[length - len(prompt)] == int(logits.argmax())


@pytest.mark.parametrize("options", [(), ("prune_lm_head=true",)])
def test_logits_of_every_position(build: Build, options: tuple[str, ...]) -> None:
    """Also of a graph that computes them for the last position only."""
    folder = build("llama", "fp32", *options)
    prompt = make_prompts(VOCAB_SIZE, (12,))[0]
    with Generator(folder, provider="cpu", num_threads=1) as generator:
        logits = generator.logits(token_ids=prompt)
    with torch.no_grad():
        expected = load_reference(folder.parent / "checkpoint")(torch.tensor([prompt])).logits[0].numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)


def test_from_the_hub(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There every file is a link to one that lies elsewhere, the weights beside the graph too."""
    folder = build("llama", "fp32")
    prompt = make_prompts(VOCAB_SIZE, (9,))[0]
    with serve() as server, redirected(monkeypatch, server, tmp_path / "home"):
        server.add("owner/model", {f"cpu/{file.name}": file.read_bytes() for file in folder.iterdir()})
        with Generator("owner/model:cpu", provider="cpu", num_threads=1) as generator:
            assert generator.folder.model_path.is_symlink()
            found = generator.generate(token_ids=prompt, max_new_tokens=8, suppress_tokens=[2])
    assert list(found.token_ids) == greedy_by_onnxruntime_genai(folder, prompt, 8)


def test_what_its_config_says(build: Build) -> None:
    folder = ModelFolder.load(build("gemma2", "fp32"))
    assert folder.manifest is None
    assert (folder.decoder.model_type, folder.decoder.context_length) == ("gemma2", 256)
    assert folder.decoder.sliding_window is not None
    assert folder.decoder.sliding_window["layers"] == [0, 2]
    assert folder.generation.early_stopping is True  # as its builder writes for beam search
    assert folder.eos_token_ids == (2,)


def test_text_and_chat(build: Build) -> None:
    with Generator(build("llama", "int4"), provider="cpu", num_threads=1) as generator:
        assert generator.generate("the quick brown", max_new_tokens=4).token_ids
        assert generator.chat([{"role": "user", "content": "hi"}], max_new_tokens=4).token_ids
