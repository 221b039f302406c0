"""The model card: the hub's metadata, what the manifest says, and nothing that a stranger's text could break."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml

from genai.folder import Manifest, model_card
from genai.folder.model_card import MARK

MANIFEST = Manifest(
    source="owner/Name-1B",
    revision="abc",
    architecture="LlamaForCausalLM",
    precision="int4",
    quantization={
        "method": "rtn",
        "bits": 4,
        "block_size": 32,
        "modules": {"head": {"bits": 8, "block_size": 64}, "*.q": {"bits": 8, "block_size": 64}, "x": None},
    },
    opset={"": 23},
    versions={"genai": "0.1.0", "onnx": "1.23"},
    created="2026-11-28T12:00:00+00:00",
    files={},
    settings={"precision": "int4", "quantize": "gptq", "kv_precision": "int8"},
    exporter_notes={"calibration": {"text": "mine.txt", "num_tokens": 5000}},
    license="Apache-2.0",
    num_parameters=1_000_000_000,
    num_bytes=600_000_000,
)
EVALUATION = {
    "date": "2026-11-28T13:00:00+00:00",
    "provider": "cpu",
    "windows": {"size": 1024, "stride": 512},
    "reference": {"source": "owner/Name-1B", "revision": "abc", "precision": "fp32"},
    "texts": [
        {"name": "a.txt", "num_tokens": 90, "perplexity": 12.345, "comparison": None},
        {"name": "b|c.txt", "num_tokens": 10, "perplexity": 2, "comparison": None},
    ],
    "overall": {
        "name": "all",
        "num_tokens": 100,
        "perplexity": 11,
        "comparison": {"perplexity_ratio": 1.0321, "mean_kl": 0.0567, "top1": 0.875},
    },
    "tasks": [{"name": "quiz.jsonl", "num_questions": 40, "accuracy": 0.8, "standard_error": 0.063}],
}


def front_matter(manifest: Manifest) -> dict[str, Any]:
    _, head, _ = model_card(manifest).split("---\n", 2)
    values: dict[str, Any] = yaml.safe_load(head)
    return values


def change(**values: Any) -> Manifest:
    return dataclasses.replace(MANIFEST, **values)


def test_the_metadata_is_the_hubs() -> None:
    assert front_matter(MANIFEST) == {
        "license": "apache-2.0",
        "base_model": "owner/Name-1B",
        "base_model_relation": "quantized",
        "pipeline_tag": "text-generation",
        "tags": ["onnx", "onnxruntime", "genai"],
    }


def test_floats_are_no_quantized_model() -> None:
    assert "base_model_relation" not in front_matter(change(precision="fp16", quantization={}))
    assert front_matter(change(precision="keep", quantization={}))["base_model_relation"] == "quantized"


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("MIT", {"license": "mit"}),
        ("Gemma Terms of Use", {"license": "gemma"}),
        ("Llama 3.2 Community License", {"license": "llama3.2"}),
        ("Own: terms\nx: y", {"license": "other", "license_name": "Own: terms\nx: y"}),
        (None, {}),
    ],
)
def test_the_licence(stated: str | None, expected: dict[str, str]) -> None:
    found = front_matter(change(license=stated))
    assert {key: value for key, value in found.items() if key.startswith("license")} == expected


@pytest.mark.parametrize(
    ("source", "revision", "expected"),
    [
        ("owner/name:file-Q4.gguf", "abc", "owner/name"),
        ("/home/me/owner/name", None, None),
        ("models/name", None, None),  # a folder
    ],
)
def test_the_base_model_is_what_came_from_the_hub(
    source: str, revision: str | None, expected: str | None
) -> None:
    manifest = change(source=source, revision=revision)
    assert front_matter(manifest).get("base_model") == expected
    assert "/home/me" not in model_card(manifest)


def test_what_the_manifest_says() -> None:
    card = model_card(MANIFEST)
    for line in (
        MARK,
        "# Name-1B, int4",
        "| Source | `owner/Name-1B` at `abc` |",
        "| Licence | `Apache-2.0` |",
        "| Parameters | 1,000,000,000 |",
        "| Size | 600.0 MB, 4.80 bits a weight |",
        "| Weights | 4 bits in blocks of 32, by gptq with 5,000 tokens of `mine.txt`; 8 bits in blocks of 64: `head`, "
        "`*.q`; floats: `x` |",
        "| KV cache | int8 |",
        "genai chat --model ./model",
    ):
        assert line in card.splitlines()
    assert "## Quality" not in card


def test_what_was_measured() -> None:
    card = model_card(change(evaluation=EVALUATION)).splitlines()
    assert "| a.txt | 90 | 12.35 |" in card or "| a.txt | 90 | 12.34 |" in card
    assert "| b c.txt | 10 | 2.00 |" in card
    assert "| all | 100 | 11.00 | 1.0321 | 0.0567 nats | 87.5% |" in card
    assert "| quiz.jsonl | 40 | 80.0% ± 6.3% |" in card


def test_a_folder_of_an_earlier_version() -> None:
    card = model_card(change(license=None, num_parameters=None, num_bytes=None, settings={}, quantization={}))
    assert "Licence" not in card
    assert "Size" not in card
    assert "Weights" not in card
