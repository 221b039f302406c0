from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from genai import ModelFolderError
from genai.errors import OptionError
from genai.folder import ModelFolder
from tests.folder.test_genai_config import CONFIG
from tests.folder.test_hf_config import LLAMA


def make(path: Path, *names: str, **contents: Any) -> Path:
    """Write empty files, and JSON files by their stems."""
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).touch()
    for stem, content in contents.items():
        (path / f"{stem}.json").write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [([1], "JSON object, not a list"), ({"top_p": 7}, "generation_config.json: top_p must be")],
)
def test_a_generation_config_that_makes_no_sense_is_named(tmp_path: Path, content: Any, message: str) -> None:
    make(tmp_path, "model.onnx", genai_config=CONFIG, generation_config=content)
    with pytest.raises(ModelFolderError, match=message):
        ModelFolder.load(tmp_path)


def test_a_config_may_name_no_end_of_sequence(tmp_path: Path) -> None:
    config = {**CONFIG, "model": {**CONFIG["model"], "eos_token_id": None}}
    assert ModelFolder.load(make(tmp_path, "model.onnx", genai_config=config)).eos_token_ids == ()


def test_a_manifest_may_name_an_exporter_of_an_earlier_version(tmp_path: Path) -> None:
    values = {
        **dict.fromkeys(("source", "revision", "architecture", "precision", "created"), ""),
        **{name: {} for name in ("quantization", "opset", "versions", "files")},
        "exporter": "optimum",
        "exporter_notes": {"reason": "asked"},
    }
    path = make(tmp_path, "model.onnx", genai_config=CONFIG, manifest=values)
    manifest = ModelFolder.load(path).manifest
    assert manifest is not None
    assert manifest.exporter == "optimum"


def test_optimums_folder(tmp_path: Path) -> None:
    path = make(
        tmp_path,
        "model.onnx",
        config=LLAMA | {"eos_token_id": 7},
        generation_config={"eos_token_id": [7, 8], "top_k": 3},
    )
    assert ModelFolder.is_model_folder(path)
    folder = ModelFolder.load(path)
    assert folder.model_path == path / "model.onnx"
    assert folder.tokenizer_path == path
    assert (folder.variant, folder.manifest, folder.eos_token_ids, folder.generation.top_k) == (
        "fp32",
        None,
        (7, 8),
        3,
    )
    assert folder.decoder.context_length == 64


def test_transformers_js_folder(tmp_path: Path) -> None:
    names = ("onnx/model.onnx", "onnx/model_q4.onnx", "onnx/model_q4f16.onnx", "model.safetensors")
    path = make(tmp_path, *names, config=LLAMA)
    assert ModelFolder.is_model_folder(path)
    assert ModelFolder.load(path).model_path == path / "onnx" / "model_q4.onnx"
    assert ModelFolder.load(path, provider="cuda").variant == "q4f16"
    assert ModelFolder.load(path, variant="fp32").decoder.filename == "onnx/model.onnx"
    with pytest.raises(OptionError, match=r'has no variant "int8"; it has fp32, q4, q4f16'):
        ModelFolder.load(path, variant="int8")


def test_where_both_kinds_of_config_are(tmp_path: Path) -> None:
    path = make(tmp_path, "model.onnx", "onnx/model_q4.onnx", genai_config=CONFIG)
    with pytest.raises(OptionError, match=r"its genai_config\.json names the one model"):
        ModelFolder.load(path, variant="q4")
    make(path, config=LLAMA)
    assert ModelFolder.load(path).decoder.filename == "model.onnx"
    assert ModelFolder.load(path, variant="q4").decoder.filename == "onnx/model_q4.onnx"


def test_the_tokenizer_may_lie_elsewhere(tmp_path: Path) -> None:
    config = {**CONFIG, "model": {**CONFIG["model"], "tokenizer_dir": "text"}}
    assert (
        ModelFolder.load(make(tmp_path, "model.onnx", genai_config=config)).tokenizer_path
        == tmp_path / "text"
    )


def test_a_missing_stage_is_named(tmp_path: Path) -> None:
    stages = {name: {"filename": f"{name}.onnx", "inputs": [], "outputs": []} for name in ("a", "b")}
    decoder = {**CONFIG["model"]["decoder"], "pipeline": [stages]}
    path = make(tmp_path, "a.onnx", genai_config={**CONFIG, "model": {**CONFIG["model"], "decoder": decoder}})
    with pytest.raises(ModelFolderError, match=r"b\.onnx, which genai_config\.json names, is missing"):
        ModelFolder.load(path)


@pytest.mark.parametrize(
    ("names", "contents", "message"),
    [
        ((), {}, "genai_config.json is missing; this is not a model folder"),
        (("model.onnx",), {}, "genai_config.json is missing"),
        (
            ("model.safetensors",),
            {"config": LLAMA},
            "this is a checkpoint, not a model folder .* `genai export ",
        ),
        (("decoder_model.onnx",), {"config": LLAMA}, "has no cache of keys and values"),
        (
            ("encoder_model.onnx", "decoder_model_merged.onnx"),
            {"config": LLAMA},
            r"more than a text decoder \(it has encoder_model\)",
        ),
        (("model.onnx",), {"config": {**LLAMA, "is_encoder_decoder": True}}, "encoder with a decoder"),
    ],
)
def test_what_is_no_decoder_is_refused(
    tmp_path: Path, names: tuple[str, ...], contents: dict[str, Any], message: str
) -> None:
    path = make(tmp_path, *names, **contents)
    with pytest.raises(ModelFolderError, match=message):
        ModelFolder.load(path)
