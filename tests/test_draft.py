"""A Generator with a draft model, and what of it the command line passes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from genai import Generator, OptionError
from genai.cli import run
from genai.export import export_model
from genai.runtime.devices import HostDevice
from tests.engine.speculation.guessing import FixedCosts
from tests.export.gguf.test_real_files import FILES

Folders = Callable[..., tuple[Path, Path]]
PROMPT = "the quick brown fox the quick brown"


@pytest.fixture(scope="module")
def folders(model_folder: Folders) -> tuple[Path, Path]:
    """A model and a draft model of another shape."""
    return model_folder("llama")[1], model_folder("qwen2")[1]


@pytest.fixture(scope="module")
def generator(folders: tuple[Path, Path]) -> Iterator[Generator]:
    with Generator(folders[0], draft=folders[1], num_threads=1) as each:
        yield each


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 3}], ids=str)
def test_a_draft_model_changes_no_answer(generator: Generator, options: dict[str, float]) -> None:
    common = {"max_new_tokens": 60, "ignore_eos": True, **options}
    plain = generator.generate(PROMPT, speculative="off", **common)
    for speculative in ("draft", "ngram", "auto"):
        assert generator.generate(PROMPT, speculative=speculative, **common).token_ids == plain.token_ids
    drafted = generator.generate(PROMPT, speculative="draft", **common).stats.drafted_tokens
    assert drafted > 0
    assert generator.generate(PROMPT, num_beams=2, max_new_tokens=5).stats.drafted_tokens == 0


def test_the_caches_of_both_models_fit_into_what_a_device_has_free(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 20 << 20
    monkeypatch.setattr(HostDevice, "free_bytes", lambda _: free)
    with Generator(folders[0], draft=folders[1]) as both, Generator(folders[0]) as one:
        engine = both._engine.engines[0]
        caches = [engine._model.cache, engine._speculation._drafters["draft"]._model.cache]
        limits = [cache.shape.max_bytes for cache in caches]
        assert 0.89 * free < sum(limits) <= 0.9 * free
        tokens = [
            limit // cache.shape.bytes_per_position for limit, cache in zip(limits, caches, strict=True)
        ]
        assert abs(tokens[0] - tokens[1]) <= 1
        assert one._engine.engines[0]._model.cache.shape.max_bytes == int(0.9 * free)
    with Generator(folders[0], draft=folders[1], kv_cache_bytes=1 << 20) as both:
        assert both._engine.engines[0]._model.cache.shape.max_bytes == 1 << 20


def test_another_vocabulary_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folders[1], other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first, second = list(vocabulary)[40:42]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(
        OptionError, match=r"other cannot be the draft model of .*vocabularies differ"
    ) as caught:
        Generator(folders[0], draft=other)
    assert str(folders[0]) in str(caught.value)
    (other / "tokenizer.json").unlink()
    with pytest.raises(OptionError, match="need tokenizers that can be compared"):
        Generator(folders[0], draft=other)


def test_a_draft_model_that_is_not_there(generator: Generator, folders: tuple[Path, Path]) -> None:
    with Generator(folders[0]) as alone, pytest.raises(OptionError, match="needs a draft model"):
        alone.generate(PROMPT, speculative="draft")


def test_the_command_line_passes_it_on(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model, draft = map(str, folders)
    command = ["generate", PROMPT, "-m", model, "--max-new-tokens", "50", "--ignore-eos", "--stats"]
    assert run([*command, "--draft", draft, "--speculative", "draft", "--num-draft-tokens", "3"]) == 0
    guessed = capsys.readouterr()
    assert "drafted tokens accepted" in guessed.err
    assert run([*command, "--speculative", "off"]) == 0
    plain = capsys.readouterr()
    assert plain.out == guessed.out
    assert "drafted" not in plain.err
    assert run([*command, "--speculative", "draft"]) == 2
    assert "--draft MODEL" in capsys.readouterr().err
    assert run(["chat", PROMPT, "-m", model, "--draft", draft, "--max-new-tokens", "5"]) == 0


@pytest.mark.slow
def test_real_weights_are_guessed_well_by_themselves_in_four_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = FILES["smollm2"]
    if file is None:
        pytest.skip("no package with the file of smollm2 is installed")
    monkeypatch.setattr("genai.engine.speculation.speculation.RunCosts", FixedCosts)  # no clock decides
    exact, rounded = (
        export_model(file, tmp_path / precision, precision=precision) for precision in ("fp32", "int4")
    )
    prompts = ["The capital of France is", "def fibonacci(n):\n", "Once upon a time, there was a"]
    with Generator(exact, draft=rounded) as generator:
        for options in ({"do_sample": False}, {"temperature": 0.7, "seed": 1}):
            common: dict[str, Any] = {"max_new_tokens": 32, **options}
            plain = generator.generate(prompts, speculative="off", **common)
            common |= {"speculative": "draft", "num_draft_tokens": 2}
            together = generator.generate(prompts, **common)
            alone = [generator.generate(prompt, **common) for prompt in prompts]
            expected = [result.token_ids for result in plain]
            assert [result.token_ids for result in together] == expected
            if "seed" not in options:  # which counts from the first of several prompts
                assert [result.token_ids for result in alone] == expected
            drafted, accepted = (
                sum(getattr(result.stats, f"{name}_tokens") for result in alone)
                for name in ("drafted", "accepted")
            )
            assert accepted > 0.5 * drafted > 20
