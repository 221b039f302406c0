"""`genai evaluate`: perplexity, comparison and tasks of one model or several, as a table and as JSON."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import genai
from genai.export import export_model
from genai.folder import ModelFolder
from tests.cli.conftest import Outcome
from tests.hub_server import HubServer

Cli = Callable[..., Outcome]


@pytest.fixture(scope="module")
def rounded(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint in int4."""
    folder = tmp_path_factory.mktemp("evaluate") / "rounded"
    export_model(checkpoint, folder, precision="int4")
    return folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("It was a cold morning, and nobody was up yet but the baker and his cat. " * 3)
    return path


@pytest.fixture
def task(tmp_path: Path) -> Path:
    path = tmp_path / "task.jsonl"
    path.write_text('{"question": "Who was up?", "choices": ["The baker", "Nobody at all"], "answer": 0}\n')
    return path


def test_the_texts_of_the_package(cli: Cli, model: Path) -> None:
    done = cli("evaluate", model)
    assert (done.code, done.stderr) == (0, "")
    header, *rows = (re.split(r"\s{2,}", line) for line in done.stdout.splitlines())
    assert header == ["MODEL", "SIZE", "TEXT", "TOKENS", "PERPLEXITY", "TOKENS/S"]
    assert [row[2] for row in rows] == ["ferry.txt", "refrigerator.txt", "all"]
    assert {row[0] for row in rows} == {str(model)}
    assert int(rows[2][3]) == int(rows[0][3]) + int(rows[1][3])
    assert float(rows[2][5]) > 0


def test_several_models_against_a_checkpoint(
    cli: Cli, checkpoint: Path, model: Path, rounded: Path, text: Path, task: Path
) -> None:
    arguments = ["evaluate", model, rounded, "--against", checkpoint, "--text", text, "--task", task]
    done = cli(*arguments)
    assert done.code == 0, done.stderr
    assert done.stderr.startswith("Exporting checkpoint to fp32")
    texts, tasks = done.stdout.split("\n\n")
    header, same, other = (re.split(r"\s{2,}", line) for line in texts.splitlines())
    assert header[4:] == ["PERPLEXITY", "RATIO", "KL MEAN", "KL MEDIAN", "KL 99%", "SAME TOP", "TOKENS/S"]
    assert same[2] == "text.txt"
    assert same[5:10] == ["1.0000", "0.0000", "0.0000", "0.0000", "100.0%"]
    assert float(other[6]) > 0
    assert tasks.splitlines()[0].split() == ["MODEL", "TASK", "QUESTIONS", "ACCURACY"]
    assert [line.split()[:3] for line in tasks.splitlines()[1:]] == [
        [str(path), "task.jsonl", "1"] for path in (model, rounded)
    ]

    as_json = cli(*arguments, "--json")
    assert (as_json.code, as_json.stderr) == (0, "")
    value = json.loads(as_json.stdout)
    assert value["against"] == str(checkpoint)
    assert [each["model"] for each in value["models"]] == [str(model), str(rounded)]
    assert [each["precision"] for each in value["models"]] == ["fp32", "int4"]
    assert value["models"][1]["overall"]["comparison"]["mean_kl"] > 0
    assert value["models"][0]["tasks"][0]["num_questions"] == 1


def test_a_checkpoint_is_exported(cli: Cli, checkpoint: Path, text: Path) -> None:
    done = cli("evaluate", checkpoint, "--precision", "int8", "--text", text, "--window", 64, "--json")
    assert done.code == 0, done.stderr
    (found,) = json.loads(done.stdout)["models"]
    assert found["precision"] == "int8"
    assert found["windows"] == {"size": 64, "stride": 32}


def test_references_from_the_hub(
    cli: Cli, hub: HubServer, checkpoint: Path, model: Path, rounded: Path, text: Path
) -> None:
    hub.add("owner/checkpoint", checkpoint)
    hub.add("owner/rounded", rounded)
    kl = []
    for reference in ("owner/checkpoint", "owner/rounded"):
        done = cli("evaluate", model, "--against", reference, "--text", text, "--json")
        assert done.code == 0, done.stderr
        kl.append(json.loads(done.stdout)["models"][0]["overall"]["comparison"]["mean_kl"])
    assert kl[0] < 1e-9 < kl[1]


def test_layers(cli: Cli, model: Path, rounded: Path, text: Path) -> None:
    done = cli("evaluate", model, rounded, "--against", model, "--text", text, "--layers")
    assert done.code == 0, done.stderr
    header, *rows = done.stdout.split("\n\n")[1].splitlines()
    assert header.startswith("LAYER  ERROR OF ")
    assert [row.split()[:2] for row in rows] == [["0", "0.00%"], ["1", "0.00%"]]
    assert all(float(row.split()[2].rstrip("%")) > 0 for row in rows)


def test_the_figures_are_kept(cli: Cli, model: Path, rounded: Path, text: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(rounded, tmp_path / "folder"))
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    arguments = ["evaluate", folder, "--against", model, "--text", text]
    assert cli(*arguments, "--no-save").code == 0
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    done = cli(*arguments, "--json")
    (value,) = json.loads(done.stdout)["models"]
    manifest = ModelFolder.load(folder).manifest
    assert manifest is not None
    assert manifest.evaluation["overall"] == value["overall"]
    assert manifest.evaluation["reference"]["precision"] == "fp32"
    assert str(tmp_path) not in json.dumps(dict(manifest.evaluation))
    ratio = f"{value['overall']['comparison']['perplexity_ratio']:.4f}"
    assert f"| {ratio} |" in (folder / "README.md").read_text(encoding="utf-8")
    assert f"{ratio} x that of" in cli("models", "show", folder).stdout
    assert cli("validate", folder).code == 0  # the card is not among the files of the export
    assert "## Quality" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_card_of_ones_own_is_kept(cli: Cli, rounded: Path, text: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(rounded, tmp_path / "folder"))
    (folder / "README.md").write_text("My own words.")
    assert cli("evaluate", folder, "--text", text).code == 0
    assert (folder / "README.md").read_text() == "My own words."
    assert ModelFolder.load(folder).manifest.evaluation  # type: ignore[union-attr]
    (folder / "manifest.json").unlink()
    names = sorted(folder.iterdir())
    assert cli("evaluate", folder, "--text", text).code == 0
    assert sorted(folder.iterdir()) == names


def test_what_comes_with_the_package_is_not_written_to(cli: Cli) -> None:
    manifest = Path(genai.__file__).parent / "demo_model" / "manifest.json"
    before = manifest.read_bytes()
    assert cli("evaluate", "demo").code == 0
    assert manifest.read_bytes() == before


def test_a_plot(cli: Cli, model: Path, rounded: Path, text: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot = tmp_path / "quality.svg"
    done = cli("evaluate", model, rounded, "--against", model, "--text", text, "--plot", plot)
    assert done.code == 0, done.stderr
    assert "KL divergence" in plot.read_text(encoding="utf-8")


def test_a_plot_without_matplotlib(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = cli("evaluate", model, "--plot", "quality.png")
    assert (done.code, done.stdout) == (1, "")
    assert "pip install matplotlib" in done.error


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["MODEL", "--text", "nowhere.txt"], 2, "nowhere.txt cannot be read"),
        (["MODEL", "--text", "SHORT"], 2, "tokens, and at least 64 are needed"),
        (["MODEL", "--task", "SHORT"], 2, "short.txt:1: not JSON"),
        (["MODEL", "--window", "1000"], 2, "window must be at least 16 and at most 512"),
        (["MODEL", "--stride", "512"], 2, "stride must be at least 1 and less than the window"),
        (["MODEL", "--layers"], 2, "give --against MODEL, too"),
        (["MODEL", "--plot", "quality.pdf"], 2, "ends in .png or .svg"),
        (["MODEL", "--provider", "cdua"], 2, "cuda"),
        (["MODEL", "--precision", "int8"], 2, "it is a model folder already"),
        (["MODEL", "--against", "demo"], 2, "have different vocabularies"),
        (["MODEL", "nowhere"], 1, "nowhere"),
        (["MODEL", "--against", "nowhere"], 1, "nowhere"),
        ([], 2, "MODEL"),
    ],
)
def test_wrong_usage(
    cli: Cli, model: Path, tmp_path: Path, arguments: list[str], code: int, expected: str
) -> None:
    short = tmp_path / "short.txt"
    short.write_text("Too short.")
    places = {"MODEL": model, "SHORT": short}
    done = cli("evaluate", *(places.get(each, each) for each in arguments))
    assert done.code == code
    assert expected in done.error
    assert done.stdout == ""
