"""`genai quantize`, and `genai export --quantize`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType

from genai.calibration import packaged_text
from genai.folder import Manifest, ModelFolder
from tests.cli.conftest import Outcome
from tests.export.gguf.converter import write_gguf

Cli = Callable[..., Outcome]


def manifest_of(path: Path) -> Manifest:
    manifest = ModelFolder.load(path).manifest
    assert manifest is not None
    return manifest


def test_quantizes(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(packaged_text().content[:7000])
    options = ("--block-size", "32", "--calibration", tmp_path / "text.txt")
    done = cli("quantize", checkpoint, "-o", tmp_path / "model", *options)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path / 'model'}: int4, ")
    manifest = manifest_of(tmp_path / "model")
    assert manifest.quantization["modules"]["layers.*.attention.output"]["method"] == "gptq"
    assert manifest.exporter_notes["calibration"]["text"] == "text.txt"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "text.txt"]


def test_quantizes_a_gguf_file(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    """One that is quantized already, too: what it stands for is quantized anew."""

    def choose(name: str, array: np.ndarray) -> GGMLQuantizationType | None:
        return GGMLQuantizationType.Q8_0 if array.ndim == 2 and array.shape[-1] % 32 == 0 else None

    file = write_gguf(checkpoint, tmp_path / "model.gguf", quantize=choose)
    (tmp_path / "text.txt").write_text(packaged_text().content[:7000])
    options = ("--block-size", "32", "--calibration", tmp_path / "text.txt")
    done = cli("quantize", file, "-o", tmp_path / "model", *options)
    assert (done.code, done.stderr) == (0, "")
    manifest = manifest_of(tmp_path / "model")
    assert manifest.quantization["modules"]["layers.*.attention.output"]["method"] == "gptq"
    assert cli("generate", "--model", tmp_path / "model", "abc", "--max-new-tokens", "3").code == 0


def test_hqq_needs_no_text(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    done = cli("export", checkpoint, "-o", tmp_path / "model", "--quantize", "hqq")
    assert (done.code, done.stderr) == (0, "")
    manifest = manifest_of(tmp_path / "model")
    assert manifest.quantization["method"] == "hqq"
    assert manifest.quantization["modules"]["head"]["method"] == "rtn"


def test_exports_with_the_text_that_comes_with_genai(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    assert cli("export", checkpoint, "-o", tmp_path / "model", "--quantize", "awq").code == 0
    notes = manifest_of(tmp_path / "model").exporter_notes["calibration"]
    assert (notes["text"], notes["text_sha256"]) == ("genai", packaged_text().digest)


def test_quantizes_the_cache(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(packaged_text().content[:7000])
    options = ("--kv-precision", "int8", "--precision", "fp32", "--calibration", tmp_path / "text.txt")
    done = cli("export", checkpoint, "-o", tmp_path / "model", *options)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path / 'model'}: fp32, ")
    manifest = manifest_of(tmp_path / "model")
    assert manifest.settings["kv_precision"] == "int8"
    assert manifest.exporter_notes["kv_cache"]["text"] == "text.txt"
    assert cli("validate", tmp_path / "model", "--against", checkpoint).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "text.txt"]


def test_spends_a_budget(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(packaged_text().content[:7000])
    options = ("--bits-budget", "6", "--quantize", "hqq", "--calibration", tmp_path / "text.txt")
    done = cli("quantize", checkpoint, "-o", tmp_path / "model", *options)
    assert (done.code, done.stderr) == (0, "")
    manifest = manifest_of(tmp_path / "model")
    assert manifest.settings["bits_budget"] == 6
    assert manifest.exporter_notes["bits_budget"]["text"] == "text.txt"
    schemes = manifest.quantization["modules"].values()
    assert {scheme["method"] for scheme in schemes if scheme["bits"] < 8} == {"hqq"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["export", "CHECKPOINT", "--quantize", "gtpq"], 'Did you mean "gptq"?'),
        (["export", "CHECKPOINT", "--quantize", "gptq", "--precision", "int8"], "choose int4"),
        (["export", "CHECKPOINT", "--quantize", "hqq", "--precision", "fp32"], "choose int4"),
        (
            ["export", "CHECKPOINT", "--calibration", "SHORT"],
            "choose awq or gptq, kv_precision int8, or bits_",
        ),
        (
            ["export", "CHECKPOINT", "--kv-precision", "int4"],
            'kv_precision must be one of auto, int8, not "int4"',
        ),
        (
            ["export", "CHECKPOINT", "--kv-precision", "int8", "--calibration", "SHORT"],
            "at least 2048 are needed",
        ),
        (["export", "CHECKPOINT", "--quantize", "awq", "--via", "transformers"], "choose quantize rtn"),
        (["quantize", "CHECKPOINT", "--bits-budget", "5", "--precision", "int4-small"], "choose int4"),
        (["quantize", "CHECKPOINT", "--precision", "keep"], "choose int4"),
        (["quantize", "CHECKPOINT", "--calibration", "SHORT"], "at least 2048 are needed"),
        (["quantize", "CHECKPOINT", "--calibration", "missing.txt"], "missing.txt cannot be read"),
    ],
)
def test_impossible_options(
    cli: Cli, checkpoint: Path, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    short = tmp_path / "short.txt"
    short.write_text("Hello.")
    places = {"CHECKPOINT": checkpoint, "SHORT": short}
    done = cli(*(places.get(each, each) for each in arguments), "-o", tmp_path / "model")
    assert done.code == 2
    assert expected in done.error
    assert list(tmp_path.iterdir()) == [short]


def test_a_model_folder(cli: Cli, model: Path, tmp_path: Path) -> None:
    done = cli("quantize", model, "-o", tmp_path / "model")
    assert done.code == 1
    assert "give the checkpoint that it was made from" in done.error
