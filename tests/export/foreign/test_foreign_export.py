"""Which exporter is taken and what is said about it; with a program in the exporter's place that answer at once."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from genai.errors import ExportError, OptionError, UnsupportedModelError
from genai.export import VIAS, ExportSettings, export_model, plan_export
from genai.export.foreign import foreign_export
from genai.export.foreign.exporter_process import run_exporter
from genai.export.foreign.transformers_tools import why_no_transformers
from genai.folder import sha256_of
from genai.prepare import prepare_model
from tests.checkpoints import make_checkpoint, make_tokenizer
from tests.export.foreign.graphs import VOCAB_SIZE, WIDTH, save_raw_decoder

CONFIG = {
    "architectures": ["OddForCausalLM"],
    "model_type": "biogpt",
    "n_positions": 64,
    "n_embd": WIDTH,
    "n_layer": 1,
    "n_head": 1,
    "vocab_size": VOCAB_SIZE,
    "eos_token_id": 3,
}
# Answers with a reason, or with the graph that lies beside it.
PROGRAM = """
import json, shutil, sys
from pathlib import Path
here, job = Path(__file__).parent, json.loads(Path(sys.argv[1]).read_text())
answer = json.loads((here / "answer.json").read_text())
if "error" not in answer:
    for name in ("model.onnx", "model.onnx.data"):
        shutil.copy(here / name, job["output"])
    answer["config"] = json.loads((Path(job["checkpoint"]) / "config.json").read_text())
(here / "jobs.jsonl").open("a").write(json.dumps(job) + chr(10))
Path(job["result"]).write_text(json.dumps(answer))
"""
GOOD: dict[str, Any] = {"vocab_size": VOCAB_SIZE, "versions": {"tool": "1.2"}, "deviation": 1e-7}
BAD = {"error": "it has wings"}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "generation_config.json").write_text(
        '{"eos_token_id": [3, 5], "temperature": 0.5, "do_sample": true}'
    )
    make_tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the exporter's answer; it makes a good graph until a test says otherwise."""
    folder = tmp_path / "program"
    folder.mkdir()
    (folder / "program.py").write_text(PROGRAM)
    save_raw_decoder(folder / "model.onnx")
    (folder / "answer.json").write_text(json.dumps(GOOD))
    program = partial(run_exporter, program=folder / "program.py")
    monkeypatch.setattr(foreign_export, "run_exporter", program)
    return folder / "answer.json"


def jobs(answer: Path) -> list[dict[str, str]]:
    path = answer.with_name("jobs.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_auto_says_which_and_why(checkpoint: Path, answer: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    folder = export_model(checkpoint, tmp_path / "model", precision="fp32", note=lines.append)
    reason = 'the architecture "OddForCausalLM" is not one of genai\'s families'
    assert lines == [f"Exporting with transformers' exporter: {reason}"]
    manifest = folder.manifest
    assert manifest is not None
    assert (manifest.exporter, manifest.architecture) == ("transformers", "OddForCausalLM")
    assert manifest.exporter_notes["reason"] == reason
    assert manifest.exporter_notes["largest_deviation"] == 1e-7
    assert manifest.versions["tool"] == "1.2"
    assert manifest.files == {
        path.name: sha256_of(path)
        for path in folder.path.iterdir()
        if path.name not in ("manifest.json", "README.md")
    }
    assert {
        "model.onnx",
        "model.onnx.data",
        "tokenizer.json",
        "generation_config.json",
    } <= manifest.files.keys()
    assert [job["dtype"] for job in jobs(answer)] == ["float32"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "model", "program"]


def test_the_folder_describes_the_decoder(checkpoint: Path, answer: Path, tmp_path: Path) -> None:
    decoder = export_model(checkpoint, tmp_path / "model", precision="fp32", max_context=50).decoder
    assert (decoder.model_type, decoder.vocab_size, decoder.context_length) == ("decoder", VOCAB_SIZE, 50)
    assert (decoder.num_layers, decoder.num_heads, decoder.num_kv_heads, decoder.head_dim) == (1, 1, 1, WIDTH)
    assert decoder.eos_token_ids == (3, 5)
    assert decoder.search["temperature"] == 0.5


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_the_graph_runs(precision: str, checkpoint: Path, answer: Path, tmp_path: Path) -> None:
    """A prompt in two pieces gives what it gives whole, and what the raw graph gives."""
    folder = export_model(checkpoint, tmp_path / "model", precision=precision)
    session = ort.InferenceSession(folder.model_path, providers=["CPUExecutionProvider"])
    ids = np.asarray([[3, 9, 27, 5, 14]])

    def run(start: int, stop: int, past: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        feeds: dict[str, Any] = {
            "input_ids": ids[:, start:stop],
            "attention_mask": np.ones((1, stop), np.int64),
            "past_key_values.0.key": past[0],
            "past_key_values.0.value": past[1],
        }
        if session.get_overridable_initializers():
            feeds["num_logits_to_keep"] = np.asarray([stop - start])
        return session.run(["logits", "present.0.key", "present.0.value"], feeds)

    shares = folder.decoder.search["past_present_share_buffer"]
    room = np.zeros((1, 1, 5 if shares else 0, WIDTH), np.float32)
    whole = run(0, 5, [room, room])[0]
    first = run(0, 3, [room, room])
    np.testing.assert_allclose(run(3, 5, first[1:])[0], whole[:, 3:], rtol=0, atol=1e-4)
    raw = ort.InferenceSession(answer.with_name("model.onnx"), providers=["CPUExecutionProvider"])
    empty = np.zeros((1, 1, 0, WIDTH), np.float32)
    names = [value.name for value in raw.get_inputs() if "past" in value.name]
    (expected,) = raw.run(
        ["logits"],
        {"input_ids": ids, "attention_mask": np.ones_like(ids), **dict.fromkeys(names, empty)}
        | ({"position_ids": ids} if any(v.name == "position_ids" for v in raw.get_inputs()) else {}),
    )
    error = np.linalg.norm(whole - expected) / np.linalg.norm(expected)
    assert error < {"fp32": 1e-5, "int8": 0.03, "int4": 0.3}[precision]
    assert precision == "fp32" or error > 1e-4


def test_a_known_family_stays_native(answer: Path, tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "llama")
    lines: list[str] = []
    folder = export_model(checkpoint, tmp_path / "model", note=lines.append)
    assert folder.manifest is not None
    assert folder.manifest.exporter == "native"
    assert folder.manifest.exporter_notes == {"reason": "LlamaForCausalLM is one of genai's own families"}
    assert (lines, jobs(answer)) == ([], [])
    asked = export_model(
        checkpoint, tmp_path / "other", precision="fp32", via="transformers", note=lines.append
    )
    assert asked.manifest is not None
    assert asked.manifest.exporter == "transformers"
    assert lines == ["Exporting with transformers' exporter, as asked"]


def test_both_reasons(checkpoint: Path, answer: Path, tmp_path: Path) -> None:
    answer.write_text(json.dumps(BAD))
    with pytest.raises(
        UnsupportedModelError,
        match=r'checkpoint: the architecture "OddForCausalLM" is not one of genai.s families; '
        r"transformers' exporter cannot export it: it has wings$",
    ):
        export_model(checkpoint, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "program"]


def test_the_one_that_is_asked_for_fails_alone(checkpoint: Path, answer: Path, tmp_path: Path) -> None:
    answer.write_text(json.dumps(BAD))
    with pytest.raises(
        UnsupportedModelError, match=r"checkpoint: transformers' exporter cannot export it: it has wings$"
    ):
        export_model(checkpoint, tmp_path / "model", via="transformers")
    with pytest.raises(UnsupportedModelError, match=r'"OddForCausalLM" is not one of genai.s families\.'):
        plan_export(checkpoint, ExportSettings(via="native"))


def test_an_unknown_exporter(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(
        OptionError, match=r'via must be one of auto, native.*, not "transformer".*"transformers"'
    ):
        export_model(checkpoint, tmp_path / "model", via="transformer")
    assert VIAS[0] == "auto"


def test_nothing_is_left_of_an_exporter_that_died(checkpoint: Path, answer: Path, tmp_path: Path) -> None:
    answer.unlink()
    with pytest.raises(ExportError, match=r"transformers' exporter ended without a result"):
        export_model(checkpoint, tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "program"]


def test_an_encoder_decoder(checkpoint: Path, answer: Path, tmp_path: Path) -> None:
    (checkpoint / "config.json").write_text(json.dumps({**CONFIG, "is_encoder_decoder": True}))
    with pytest.raises(UnsupportedModelError, match="it is an encoder with a decoder"):
        export_model(checkpoint, tmp_path / "model")
    with pytest.raises(UnsupportedModelError, match="it is an encoder with a decoder"):
        plan_export(checkpoint)


@pytest.mark.parametrize("max_context", [0, 65, True])
def test_an_impossible_context(max_context: int, checkpoint: Path, answer: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="max_context must be"):
        export_model(checkpoint, tmp_path / "model", max_context=max_context)
    assert jobs(answer) == [], "the exporter need not run to find that out"


@pytest.mark.parametrize("key", ["max_position_embeddings", "n_positions", "max_seq_len"])
@pytest.mark.parametrize("is_nested", [False, True])
def test_the_context_is_checked_in_the_plan(key: str, is_nested: bool, checkpoint: Path) -> None:
    config = {name: value for name, value in CONFIG.items() if name != "n_positions"}
    config |= {"text_config": {key: 64}, key: 99} if is_nested else {key: 64}
    (checkpoint / "config.json").write_text(json.dumps(config))
    plan_export(checkpoint, ExportSettings(max_context=64))
    with pytest.raises(OptionError, match="max_context must be at most 64"):
        plan_export(checkpoint, ExportSettings(max_context=65))


def test_a_context_that_only_the_exporter_knows_is_checked_late(
    checkpoint: Path, answer: Path, tmp_path: Path
) -> None:
    config = {name: value for name, value in CONFIG.items() if name != "n_positions"}
    (checkpoint / "config.json").write_text(json.dumps({**config, "n_ctx": 64}))
    with pytest.raises(OptionError, match="max_context must be at most 64"):
        export_model(checkpoint, tmp_path / "model", max_context=65)
    assert len(jobs(answer)) == 1


def test_tools_that_are_missing_are_named(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "genai.export.foreign.transformers_tools.TRANSFORMERS_TOOLS", {"no_such_tool": (1, 2)}
    )
    lack = "it needs no_such_tool >= 1.2, and it is not installed; install genai with its extra [export]"
    assert why_no_transformers(CONFIG) == lack
    with pytest.raises(ExportError, match=r"exporter cannot run: it needs no_such_tool >= 1.2"):
        plan_export(checkpoint, ExportSettings(via="transformers"))
    with pytest.raises(ExportError, match=r"transformers' exporter cannot run: it needs no_such_tool"):
        export_model(checkpoint, tmp_path / "model", via="transformers")
    with pytest.raises(
        UnsupportedModelError,
        match=r"genai.s families; transformers' exporter cannot run: .*extra \[export\]$",
    ):
        plan_export(checkpoint)
    monkeypatch.setattr("genai.export.foreign.transformers_tools.TRANSFORMERS_TOOLS", {"numpy": (999,)})
    assert "numpy >= 999, and " in str(why_no_transformers(CONFIG))


def test_a_type_that_nobody_knows_is_refused_before_the_weights_are_there(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text(json.dumps({**CONFIG, "model_type": "biogbt"}))
    with pytest.raises(UnsupportedModelError, match=r'has no decoder of the type "biogbt"'):
        plan_export(checkpoint)


def test_prepare_exports_through_auto(
    checkpoint: Path, answer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENAI_HOME", str(tmp_path / "home"))
    (checkpoint / "model.safetensors").write_bytes(b"weights that only the exporter reads")
    manifest = prepare_model(checkpoint).manifest
    assert manifest is not None
    assert (manifest.exporter, manifest.precision) == ("transformers", "int4")
    prepare_model(checkpoint)
    assert len(jobs(answer)) == 1


def test_prepare_names_what_to_install(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENAI_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(
        "genai.export.foreign.transformers_tools.TRANSFORMERS_TOOLS", {"no_such_tool": (1, 2)}
    )
    (checkpoint / "model.safetensors").write_bytes(b"weights that only the exporter reads")
    with pytest.raises(UnsupportedModelError, match=r"families.* install genai with its extra \[export\]"):
        prepare_model(checkpoint)


@pytest.mark.parametrize("architecture", ["OddForSequenceClassification", "OddModel"])
@pytest.mark.parametrize("via", ["auto", "transformers"])
def test_what_is_no_language_model(
    architecture: str, via: str, checkpoint: Path, answer: Path, tmp_path: Path
) -> None:
    path = checkpoint / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "architectures": [architecture]}))
    with pytest.raises(UnsupportedModelError, match=f'"{architecture}" is no language model'):
        plan_export(checkpoint, ExportSettings(via=via))
    with pytest.raises(UnsupportedModelError, match=f'"{architecture}" is no language model'):
        export_model(checkpoint, tmp_path / "model", via=via)
    assert not jobs(answer)
