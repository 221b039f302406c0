from __future__ import annotations

import json
from pathlib import Path

import pytest

from genai.config import GenerationConfig
from genai.errors import GenaiError
from genai.export.build.precision import Precision
from genai.hub import Preset, find_preset, load_presets, resolve
from genai.hub.presets import presets_folder


def test_every_preset_is_complete():
    presets = load_presets()
    assert {preset.alias for preset in presets} >= {
        "demo", "gemma", "llama", "mistral", "phi", "qwen", "smollm", "tinyllama",
    }  # fmt: skip
    for preset in presets:
        assert preset.description
        assert preset.license
        assert preset.parameters
        assert (preset.repo is None) != (preset.path is None)
        if preset.repo is not None:
            assert preset.weight_bytes is not None
            assert preset.context_length >= 1024
            assert 0 < preset.cache_bytes(1) < 2_000_000
        Precision.of(preset.settings)
        GenerationConfig().merge(**preset.generation)
        for alias in preset.aliases:
            assert resolve(alias).preset == preset


def test_every_file_is_in_one_form():
    for file in presets_folder().glob("*.json"):
        text = file.read_text(encoding="utf-8")
        assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n", file


def test_a_preset_is_found_by_any_alias_and_by_its_repository():
    preset = find_preset(alias="qwen3")
    assert preset is not None
    assert preset is not find_preset(alias="qwen:1.7b")
    assert find_preset(repo="Qwen/Qwen3-0.6B") == preset
    assert find_preset(alias="no such") is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"aliases": ["x"], "repo": "a/b", "licence": "MIT"},
            'unknown key "licence".* Did you mean "license"?',
        ),
        ({"aliases": ["x"], "description": "", "license": "", "parameters": ""}, "one of"),
        ({"aliases": [], "repo": "a/b"}, '"aliases"'),
        ({"aliases": ["x"], "repo": "a/b"}, "incomplete"),
    ],
)
def test_a_wrong_preset_is_refused(values: dict[str, object], message: str):
    with pytest.raises(GenaiError, match=message):
        Preset.from_json(values)


def test_a_wrong_file_is_named(tmp_path: Path):
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(GenaiError, match=r"broken\.json"):
        load_presets(tmp_path)


def test_two_presets_cannot_share_an_alias(tmp_path: Path):
    for name in ("one", "two"):
        values = {
            "aliases": [name, "both"],
            "repo": f"a/{name}",
            "description": "",
            "license": "",
            "parameters": "",
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(values))
    with pytest.raises(GenaiError, match='"one" and "two" share the alias "both"'):
        load_presets(tmp_path)
