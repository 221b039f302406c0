"""`genai export`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from genai.folder import ModelFolder
from tests.adapters import make_adapter
from tests.cli.conftest import Outcome
from tests.hub_server import HubServer

Cli = Callable[..., Outcome]


def test_exports(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    done = cli("export", checkpoint, "-o", tmp_path / "model", "--precision", "int8", "--block-size", 64)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path / 'model'}: int8, ")
    manifest = ModelFolder.load(tmp_path / "model").manifest
    assert manifest is not None
    assert manifest.quantization["block_size"] == 64
    assert "bits a weight" in done.stdout
    assert "1.001 x" not in done.stdout  # measured in other blocks


def test_what_the_recipe_cost_where_it_was_measured(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    done = cli("export", checkpoint, "-o", tmp_path / "model", "--precision", "int8")
    assert done.stdout.splitlines()[1].startswith(
        "measured perplexity of this recipe relative to fp32, by its weights alone: 1.001 x"
    )


def test_json(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    done = cli("export", checkpoint, "-o", tmp_path / "model", "--json", "--max-context", 128)
    value = json.loads(done.stdout)
    assert (value["precision"], value["provider"], value["activations"]) == ("int4", "cpu", "fp32")
    assert value["context_length"] == 128
    assert value["size_bytes"] == sum(file.stat().st_size for file in (tmp_path / "model").iterdir())


def test_needs_no_onnxruntime(checkpoint: Path, tmp_path: Path) -> None:
    """The checks at the end use it if it is there."""
    script = (
        "import sys; from genai.cli import run\n"
        f"code = run(['export', {str(checkpoint)!r}, '-o', {str(tmp_path / 'model')!r}, '--no-validate'])\n"
        "print(code, [name for name in ('onnxruntime', 'torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_form_that_the_cpu_has_to_help_with(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    done = cli("export", checkpoint, "-o", tmp_path / "model", "--provider", "CUDA", "--activations", "fp32")
    assert done.code == 0
    assert done.stdout.startswith(f"{tmp_path / 'model'}: int4 for cuda in fp32, ")
    (line,) = done.stderr.splitlines()
    assert "cuda has no kernel for GroupQueryAttention in fp32" in line


def test_a_target_that_exists(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    done = cli("export", checkpoint, "-o", tmp_path)
    assert done.code == 1
    assert "--overwrite" in done.error
    assert (tmp_path / "kept.txt").read_text() == "kept"


def test_overwrite(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    assert cli("export", checkpoint, "-o", tmp_path / "model").code == 0
    assert cli("export", checkpoint, "-o", tmp_path / "model", "--precision", "fp32", "--overwrite").code == 0
    assert ModelFolder.load(tmp_path / "model").manifest.precision == "fp32"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--precision", "int"], 2, 'Did you mean "int8"?'),
        (["--block-size", "33"], 2, "block"),
        (["--block-size", "0"], 2, "block"),
        (["--max-context", "100000"], 2, "512"),
        (["--revision", "main"], 2, "revision"),
    ],
)
def test_impossible_options(
    cli: Cli, checkpoint: Path, tmp_path: Path, arguments: list[str], code: int, expected: str
) -> None:
    done = cli("export", checkpoint, "-o", tmp_path / "model", *arguments)
    assert done.code == code
    assert expected in done.error
    assert not (tmp_path / "model").exists()


def test_wrong_options_cost_no_download(cli: Cli, hub: HubServer, checkpoint: Path, tmp_path: Path) -> None:
    hub.add("owner/name", checkpoint)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert cli("export", "owner/name", "-o", tmp_path / "m", "--precision", "int5").code == 2
    assert cli("export", "owner/name", "-o", tmp_path / "full").code == 1
    assert hub.requests == []


def test_from_the_hub(cli: Cli, hub: HubServer, checkpoint: Path, tmp_path: Path) -> None:
    commit = hub.add("owner/name", checkpoint)
    done = cli("export", "owner/name", "-o", tmp_path / "model", "--json")
    assert done.code == 0
    assert json.loads(done.stdout)["revision"] == commit
    assert done.stderr.startswith("Downloading owner/name (")
    assert cli("export", "owner/name", "-o", tmp_path / "again", "--offline").code == 0


def test_no_checkpoint(cli: Cli, model: Path, tmp_path: Path) -> None:
    for folder in (model, "demo"):
        done = cli("export", folder, "-o", tmp_path / "model")
        assert done.code == 1
        assert f"{folder} is a model folder already" in done.error
        assert "leave --output out and pass --web DIR or --triton DIR" in done.error


def test_what_cannot_be_exported_is_not_fetched(cli: Cli, hub: HubServer, tmp_path: Path) -> None:
    config = {"architectures": ["OddForCausalLM"]}
    hub.add("owner/odd", {"config.json": json.dumps(config), "model.safetensors": b"weights"})
    done = cli("export", "owner/odd", "-o", tmp_path / "model")
    assert done.code == 1
    assert "OddForCausalLM" in done.stderr
    assert hub.downloads().keys() == {"config.json"}


def test_via(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    done = cli("export", checkpoint, "-o", tmp_path / "model", "--via", "native", "--json", "--no-validate")
    assert json.loads(done.stdout)["exporter"] == "native"
    done = cli("export", checkpoint, "-o", tmp_path / "other", "--via", "transformer")
    assert (done.code, done.error) == (
        2,
        'via must be one of auto, native, transformers, not "transformer". Did you mean "transformers"?',
    )


def test_adapters(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    adapter = make_adapter(checkpoint, tmp_path / "lora")
    model = tmp_path / "model"
    done = cli("export", checkpoint, "-o", model, "--adapter", f"sql={adapter}", "--adapter", f"b={adapter}")
    assert done.code == 0
    assert "with adapters b, sql" in done.stdout
    options = ("--model", model, "--max-new-tokens", 4, "--greedy")
    texts = {cli("generate", "the quick", *options, *more).stdout for more in ((), ("--adapter", "sql"))}
    assert len(texts) == 2
    assert cli("chat", "the quick", *options, "--adapter", "b").code == 0
    done = cli("generate", "the quick", *options, "--adapter", "sq")
    assert done.code != 0
    assert 'no adapter "sq"; it has: b, sql. Did you mean "sql"?' in done.error
    assert "adapters" in cli("models", "show", model).stdout
    for wrong in ("sql", "=x", "x="):
        assert (
            "--adapter must be NAME=DIR"
            in cli("export", checkpoint, "-o", tmp_path / "no", "--adapter", wrong).error
        )


def test_merging_an_adapter(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    adapter = make_adapter(checkpoint, tmp_path / "lora", use_dora=True)
    done = cli("export", checkpoint, "-o", tmp_path / "model", "--merge-adapter", adapter)
    assert done.code == 0
    manifest = ModelFolder.load(tmp_path / "model").manifest
    assert manifest is not None
    assert manifest.exporter_notes["merged_adapter"]["modules"] == 14
    done = cli("export", tmp_path / "model", "--triton", tmp_path / "t", "--merge-adapter", adapter)
    assert "--merge-adapter: the model folder is there already" in done.error
