"""The comparison with other engines: turns, medians, ratios, equal quality, and engines that fail."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.peers.comparison import NEW_TOKENS, Row, Task, medians, quality, ratios, run_rounds
from scripts.peers.driver import Settings, compare
from scripts.peers.recipes import ENGINES, RECIPES, WORKERS, EngineFile, Recipe, genai_recipe, select
from scripts.peers.report import as_json, as_markdown
from scripts.peers.sources import Shape, Sources, made_once
from scripts.peers.worker import Worker, WorkerError
from scripts.peers.workers.serving import mean_nll

TASKS = (Task(1, 64), Task(2, 64))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The script of a made-up engine, which finds what workers share."""
    monkeypatch.setenv("PYTHONPATH", str(WORKERS))
    return Path(__file__).parent / "fake_engine.py"


class FakePeer:
    """Answers that it took so many seconds, the first round warming up; dies when they are spent."""

    def __init__(self, name: str, calls: list[tuple[str, list[list[int]]]], seconds: Sequence[float]) -> None:
        self._name = name
        self._calls = calls
        self._seconds = iter(seconds)

    def ask(self, do: str, **job: Any) -> dict[str, Any]:
        assert do == "generate"
        self._calls.append((self._name, job["prompts"]))
        seconds = next(self._seconds, None)
        if seconds is None:
            raise WorkerError("generate: out of memory")
        return {"first_seconds": seconds / 2, "total_seconds": seconds, "peak_mb": 100 * seconds}


def row_of(name: str, bits: int = 4, **fields: Any) -> Row:
    return Row(Recipe(name, "genai", bits), **fields)


def run(
    *seconds: Sequence[float], num_rounds: int = 3
) -> tuple[list[Row], list[tuple[str, list[list[int]]]]]:
    calls: list[tuple[str, list[list[int]]]] = []
    rows = [row_of(name) for name in "ab"]
    peers = [(row, FakePeer(row.recipe.name, calls, each)) for row, each in zip(rows, seconds, strict=True)]
    run_rounds(peers, num_rounds=num_rounds, vocab_size=1000, tasks=TASKS)
    return rows, calls


def test_engines_take_turns_on_the_same_new_prompts() -> None:
    _, calls = run([1] * 8, [1] * 8)
    assert [name for name, _ in calls] == ["a", "b"] * 8  # a task at a time, warming up included
    prompts = [prompts for _, prompts in calls]
    assert prompts[::2] == prompts[1::2]
    assert [np.shape(each) for each in prompts[::2]] == [(1, 64), (2, 64)] * 4
    assert len({str(each) for each in prompts}) == 8


def test_medians_are_over_rounds_and_ratios_within_them() -> None:
    # Rounds of different speed, as on a machine that others use: b takes twice as long as a, but once.
    (a, b), _ = run([9, 9, 1, 1, 4, 4, 2, 2], [9, 9, 2, 2, 8, 8, 2, 2])
    assert medians(a)["prompt 64"] == 64 / 1.0  # of 2, 0.5 and 1 seconds
    assert medians(a)["decode 64"] == (NEW_TOKENS - 1) / 1.0
    assert medians(a)["first 64"] == 1000.0
    assert medians(a)["batch 2"] == 2 * NEW_TOKENS / 2
    assert medians(b)["peak MB"] == 200.0
    assert ratios(a, b)["prompt 64"] == ratios(a, b)["batch 2"] == 2.0
    assert ratios(a, b)["first 64"] == 0.5


def test_a_peer_that_dies_keeps_its_whole_rounds_and_stops_nobody() -> None:
    (a, b), calls = run([1] * 8, [1] * 5)
    assert len(a.rounds) == 3
    assert len(b.rounds) == 1
    assert b.error == "generate: out of memory"
    assert [name for name, _ in calls].count("b") == 6  # it is asked no more
    assert ratios(a, b) == dict.fromkeys(b.rounds[0], 1.0)
    table = as_markdown([a, b])
    assert "b failed: generate: out of memory" in table
    (b, a), _ = run([], [1] * 8)
    assert ratios(b, a) == {}
    assert "| a |" in as_markdown([b, a])


def test_quality_is_relative_to_the_best_row_of_4_bits() -> None:
    rows = [
        row_of("best", perplexities=[20.0, 30.0]),
        row_of("as good", perplexities=[20.4, 30.6]),
        row_of("worse", perplexities=[20.5, 30.7]),
        row_of("wider", bits=8, perplexities=[18.0, 27.0]),
        row_of("failed", error="load: no"),
    ]
    found = quality(rows)
    assert found == [pytest.approx(1), pytest.approx(1.02), pytest.approx(1.0242, abs=1e-4), 0.9, None]
    assert [each["is_worse"] for each in as_json(rows)] == [False, False, True, False, False]
    table = as_markdown(rows)
    assert table.count("†") == 2  # the row and the note
    assert "| worse † | 20.50 / 30.70, 1.024 × |" in table


def test_without_perplexity_there_is_no_column_of_it() -> None:
    table = as_markdown(
        [row_of("a", rounds=[{"prompt 512": 1234.4}]), row_of("b", rounds=[{"prompt 512": 617.2}])]
    )
    assert table.splitlines()[:4] == [
        "| tokens/s | prompt 512 |",
        "|---|---|",
        "| a | 1234 |",
        "| b | 617 (2.00 ×) |",
    ]
    assert "erplexity" not in table


def test_a_name_is_an_engine_or_a_row() -> None:
    assert select(RECIPES, None) == list(RECIPES)
    assert {recipe.engine for recipe in RECIPES} == set(ENGINES)
    assert [recipe.name for recipe in select(RECIPES, ["llama.cpp Q4_0", "transformers"])] == [
        "llama.cpp Q4_0",
        "transformers bf16",
    ]
    with pytest.raises(ValueError, match='"vllm" is neither an engine'):
        select(RECIPES, ["vllm"])


def test_settings_of_an_export_make_a_row() -> None:
    recipe = genai_recipe("block_size=64,quantize=hqq")
    assert recipe == Recipe(
        "genai block_size=64,quantize=hqq",
        "genai",
        4,
        {"block_size": 64, "quantize": "hqq", "precision": "int4"},
    )
    assert genai_recipe("precision=int8").bits == 8
    with pytest.raises(ValueError, match="not of the form"):
        genai_recipe("int4")


def test_likelihood_is_of_every_token_but_the_first() -> None:
    logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [1.0, 1.0, 1.0]])
    assert mean_nll(logits, [2, 0, 2]) == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 2)


def test_what_is_cut_off_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    def fail(target: Path) -> None:
        (target / "half").touch()
        raise WorkerError("convert: no")

    with pytest.raises(WorkerError):
        made_once(tmp_path / "model", fail)
    assert not (tmp_path / "model").exists()
    assert made_once(tmp_path / "model", lambda target: (target / "whole").touch()).is_dir()
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["whole"]
    made_once(tmp_path / "model", fail)  # it is there


def test_a_worker_says_what_it_died_of(tmp_path: Path, fake: Path) -> None:
    with Worker(fake, log=tmp_path / "log") as worker:
        with pytest.raises(WorkerError, match="convert: ValueError: this model cannot be converted"):
            worker.ask("convert", source="", target=str(tmp_path), options={"fate": "convert"})
        with pytest.raises(WorkerError):
            worker.ask("load", model=str(tmp_path), threads=1, max_tokens=1)
    with Worker(fake, log=tmp_path / "log") as worker:
        worker.ask("convert", source="", target=str(tmp_path), options={"fate": "stops early"})
        worker.ask("load", model=str(tmp_path), threads=1, max_tokens=1)
        with pytest.raises(WorkerError, match="3 tokens were generated instead of 1 x 4"):
            worker.ask("generate", prompts=[[1, 2]], new_tokens=4)


def test_a_run_ends_with_a_row_for_every_recipe(tmp_path: Path, fake: Path) -> None:
    sources = Sources(Shape("Fake", {"model_type": "fake", "vocab_size": 100}), tmp_path / "fake")
    (tmp_path / "fake" / "checkpoint").mkdir(parents=True)
    recipes = [Recipe(fate, "fake", 4, {"fate": fate}) for fate in ("well", "convert", "generate")]
    settings = Settings(
        tmp_path, num_threads=1, num_rounds=1, engines={"fake": EngineFile(fake, "checkpoint")}
    )
    well, unconverted, killed = compare(sources, recipes, settings, texts=[[1], [1, 2]])
    assert well.error is None
    assert well.version == "1.0"
    assert len(well.rounds) == 1
    assert {"prompt 2048", "decode 64", "batch 8", "peak MB", "load s", "folder MB"} <= well.rounds[0].keys()
    assert well.perplexities == [math.exp(1), math.exp(2)]
    assert unconverted.error is not None
    assert "this model cannot be converted" in unconverted.error
    assert killed.error is not None
    assert killed.error.startswith("generate: ended by signal 9")
    assert killed.perplexities == []
    assert (tmp_path / "fake" / "well.log").read_text().splitlines()[0] == "engines print what they like"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--engines", "vllm", '"vllm" is neither an engine'),
        ("--python", "openvino=/nowhere/python", "a program that is there"),
        ("--genai", "int4", '"int4" is not of the form precision=int4,block_size=64'),
        ("--rounds", "0", "not a whole number >= 1"),
    ],
)
def test_an_option_that_means_nothing_is_refused(
    option: str,
    value: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "scripts")
    script = importlib.import_module("compare_peers")
    monkeypatch.setattr("sys.argv", ["compare_peers.py", option, value])
    with pytest.raises(SystemExit):
        script.parse_arguments()
    assert message in capsys.readouterr().err
