"""`genai validate`, and the quick validation that `genai export` ends with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import genai
from genai.folder import MANIFEST_FILE, ModelFolder
from tests.checkpoints import make_checkpoint
from tests.cli.conftest import Outcome
from tests.hub_server import HubServer

Cli = Callable[..., Outcome]


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "model"))


def flip_byte(folder: Path) -> None:
    data = bytearray((folder / "model.onnx.data").read_bytes())
    data[len(data) // 2 // 4 * 4] ^= 1
    (folder / "model.onnx.data").write_bytes(data)


def validation_of(folder: Path) -> dict[str, object]:
    manifest = ModelFolder.load(folder).manifest
    assert manifest is not None
    return dict(manifest.validation)


def test_a_good_folder(cli: Cli, folder: Path) -> None:
    done = cli("validate", folder)
    assert (done.code, done.stderr) == (0, "")
    header, *rows = [line.split() for line in done.stdout.splitlines()]
    assert header == ["CHECK", "RESULT", "DETAIL"]
    assert len(rows) == 12
    assert {row[1] for row in rows} == {"ok"}
    assert validation_of(folder)["passed"] is True


def test_against_its_checkpoint(cli: Cli, checkpoint: Path, folder: Path) -> None:
    done = cli("validate", folder, "--against", checkpoint, "--new-tokens", 8, "--json")
    assert (done.code, done.stderr) == (0, "")
    value = json.loads(done.stdout)
    assert value.pop("path") == str(folder)
    assert value["passed"]
    assert value["against"] == {"source": str(checkpoint.resolve()), "revision": None}
    assert value["checks"][-1]["figures"] == {"agreements": [8] * 4, "num_generated": [8] * 4}
    assert validation_of(folder) == value


def test_a_damaged_folder(cli: Cli, folder: Path) -> None:
    flip_byte(folder)
    done = cli("validate", folder)
    assert done.code == 1
    assert done.error == f"{folder} failed 1 of 12 checks: checksums"
    assert [line.split()[1] for line in done.stdout.splitlines()[1:]].count("failed") == 1
    assert "model.onnx.data" in done.stdout
    assert validation_of(folder)["passed"] is False
    as_json = cli("validate", folder, "--json")
    assert as_json.code == 1
    assert not json.loads(as_json.stdout)["passed"]


def test_another_checkpoint(
    cli: Cli, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_checkpoint("qwen2", tmp_path / "other", seed=1, max_position_embeddings=512)
    capsys.readouterr()  # transformers' progress
    done = cli("validate", folder, "--against", other)
    assert done.code == 1
    assert done.error.endswith("failed 2 of 15 checks: logits, greedy")
    assert cli("validate", folder, "--against", other, "--max-error", 100).code == 0


def test_a_folder_that_cannot_be_written_to(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    done = cli("validate", folder)
    assert done.code == 0
    assert done.stderr.startswith("the result is not kept: ")


def test_what_comes_with_the_package_is_not_written_to(cli: Cli) -> None:
    manifest = Path(genai.__file__).parent / "demo_model" / MANIFEST_FILE
    before = manifest.read_bytes()
    assert cli("validate", "demo").code == 0
    assert manifest.read_bytes() == before


def test_from_the_hub(cli: Cli, hub: HubServer, checkpoint: Path) -> None:
    commit = hub.add("owner/name", checkpoint)
    done = cli("validate", "owner/name", "--against", "owner/name", "--new-tokens", 8, "--json")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["against"] == {"source": "owner/name", "revision": commit}


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--against", "CHECKPOINT", "--max-kl", "-1"], 2, "max_kl"),
        (["--against", "CHECKPOINT", "--min-top1", "2"], 2, "min_top1"),
        (["--max-error", "1"], 2, "--max-error: for the comparison with a checkpoint, so give --against"),
        (["--max-kl", "0.1", "--min-top1", "0.5"], 2, "--max-kl, --min-top1: for the comparison"),
        (["--new-tokens", "64"], 2, "--new-tokens: for the comparison"),
        (["--new-tokens", "0"], 2, "new-tokens"),
        (["--provider", "cdua"], 2, "cuda"),
        (["--against", "nowhere"], 1, "nowhere"),
        (["--variant", "q4"], 2, "q4"),
    ],
)
def test_wrong_usage(
    cli: Cli, checkpoint: Path, folder: Path, arguments: list[str], code: int, expected: str
) -> None:
    done = cli("validate", folder, *(checkpoint if each == "CHECKPOINT" else each for each in arguments))
    assert done.code == code
    assert expected in done.error
    assert done.stdout == ""


def test_colours_on_a_terminal(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flip_byte(folder)
    monkeypatch.setattr("genai.cli.validate.uses_color", lambda stream: True)
    lines = cli("validate", folder).stdout.splitlines()
    assert [line for line in lines if "\x1b[31m" in line] == [line for line in lines if " failed " in line]


def test_an_export_ends_with_the_quick_checks(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    done = cli("export", checkpoint, "-o", tmp_path / "model")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].endswith(", 10 checks passed")
    assert validation_of(tmp_path / "model")["passed"] is True
    as_json = json.loads(cli("export", checkpoint, "-o", tmp_path / "other", "--json").stdout)
    assert as_json["validation"] == validation_of(tmp_path / "other")


@pytest.mark.parametrize("is_configured", [False, True])
def test_an_export_of_a_checkpoint_without_a_tokenizer(
    cli: Cli, checkpoint: Path, tmp_path: Path, is_configured: bool
) -> None:
    source = Path(shutil.copytree(checkpoint, tmp_path / "source"))
    (source / "tokenizer.json").unlink()
    if not is_configured:
        (source / "tokenizer_config.json").unlink()
    done = cli("export", source, "-o", tmp_path / "model")
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith(", 9 checks passed, 1 skipped")


def test_an_export_without_them(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    done = cli("export", checkpoint, "-o", tmp_path / "model", "--no-validate", "--json")
    assert json.loads(done.stdout)["validation"] is None
    assert validation_of(tmp_path / "model") == {}


def test_an_export_that_went_wrong(
    cli: Cli, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genai.export import carry_out

    def export_wrongly(*arguments: object, **options: object) -> object:
        folder = carry_out(*arguments, **options)  # type: ignore[arg-type]
        flip_byte(tmp_path / "model")
        return folder

    monkeypatch.setattr("genai.export.carry_out", export_wrongly)
    done = cli("export", checkpoint, "-o", tmp_path / "model")
    assert (done.code, done.stdout) == (1, "")
    assert "was exported, but 1 of 10 checks failed: checksums: changed since the export" in done.error
    assert validation_of(tmp_path / "model")["passed"] is False
