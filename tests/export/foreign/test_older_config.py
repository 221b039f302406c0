"""A config.json of transformers 5 in the older terms: transformers reads the same rotary positions from both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from genai.errors import UnsupportedModelError
from genai.export.foreign.older_config import link_older_checkpoint, older_config

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 64}


@pytest.mark.parametrize(
    ("name", "rope"),
    [
        ("LlamaConfig", {"rope_type": "default", "rope_theta": 123456.0}),
        ("LlamaConfig", {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}),
        ("LlamaConfig", LLAMA3),
        ("Qwen3Config", YARN),
        ("GPTNeoXConfig", {"rope_type": "default", "rope_theta": 2e4, "partial_rotary_factor": 0.5}),
        ("PhiConfig", {"rope_type": "default", "rope_theta": 2e4, "partial_rotary_factor": 0.75}),
        (
            "Gemma3TextConfig",
            {
                "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        ),
    ],
)
def test_transformers_reads_the_same_from_both(name: str, rope: dict[str, Any]) -> None:
    kind = getattr(transformers, name)
    values = json.loads(kind(rope_parameters=rope).to_json_string(use_diff=False))
    older = older_config(values)
    assert "rope_parameters" not in older
    assert "dtype" not in older
    read = kind(**older)
    assert read.rope_parameters == kind(**values).rope_parameters
    kept = {key: value for key, value in values.items() if key not in ("rope_parameters", "dtype")}
    assert {key: older[key] for key in kept} == kept


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"rope_parameters": {"main": {"rope_theta": 1e4}, "compress": {"rope_theta": 1e5}}},
            r"rotary positions per kind of layer \(main, compress\)",
        ),
        (
            {"rope_parameters": {"full_attention": LLAMA3, "sliding_attention": LLAMA3}},
            "scaled rotary positions in sliding layers",
        ),
        (
            {
                "model_type": "olmo3",
                "rope_parameters": {
                    "full_attention": {"rope_theta": 1e4},
                    "sliding_attention": {"rope_theta": 1e5},
                },
            },
            "differ between sliding and other layers",
        ),
        (
            {
                "model_type": "olmo3",
                "rope_parameters": {
                    "full_attention": {"rope_theta": 1e4, "partial_rotary_factor": 0.5},
                    "sliding_attention": {"rope_theta": 1e4},
                },
            },
            "another part in sliding layers",
        ),
    ],
)
def test_what_has_no_older_form(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        older_config(config)


def test_an_older_config_stays_as_it_is() -> None:
    values = {"model_type": "llama", "torch_dtype": "float16", "rope_theta": 1e4, "rope_scaling": None}
    assert older_config(values) == values


def test_the_text_part_is_translated_too() -> None:
    values = {"text_config": {"dtype": "float16", "rope_parameters": {"rope_theta": 7.0}}}
    assert older_config(values) == {"text_config": {"torch_dtype": "float16", "rope_theta": 7.0}}


def test_weights_are_linked_and_the_tokenizer_stays_behind(tmp_path: Path) -> None:
    checkpoint, older = tmp_path / "checkpoint", tmp_path / "older"
    checkpoint.mkdir()
    older.mkdir()
    (tmp_path / "blob").write_bytes(b"weights")
    (checkpoint / "model.safetensors").symlink_to(tmp_path / "blob")  # as in the Hugging Face cache
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (checkpoint / name).write_text("{}")
    link_older_checkpoint(checkpoint, {"model_type": "llama", "dtype": "float32"}, older)
    assert sorted(path.name for path in older.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]
    assert (older / "model.safetensors").read_bytes() == b"weights"
    assert json.loads((older / "config.json").read_text())["torch_dtype"] == "float32"
