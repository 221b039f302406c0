"""Settings refuse what cannot be measured, and leave out defaults that do not fit."""

from __future__ import annotations

from typing import Any

import pytest

from genai.benchmark import BenchmarkSettings
from genai.errors import OptionError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"new_tokens": 1}, "new_tokens must be a whole number of at least 2, not 1"),
        ({"repeats": 0}, "repeats must be a whole number of at least 1, not 0"),
        ({"warmup": -1}, "warmup must be a whole number of at least 0, not -1"),
        ({"prompt_tokens": (8, 0)}, "prompt_tokens must be a whole number of at least 1, not 0"),
        ({"batch": (True,)}, "batch must be a whole number of at least 1, not True"),
        ({"past": (1.5,)}, "past must be a whole number of at least 1, not 1.5"),
        ({"prompt_tokens": (), "batch": ()}, "nothing to measure"),
        ({"prompt_tokens": 16}, "prompt_tokens must be a list of numbers, not 16"),
        ({"batch": "1,4"}, "batch must be a list of numbers, not '1,4'"),
    ],
)
def test_impossible_settings(values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        BenchmarkSettings(**values)


def test_defaults_that_do_not_fit_are_left_out() -> None:
    settings, notes = BenchmarkSettings().fit(512)
    assert settings.prompt_tokens == (64,)
    assert notes == (
        "prompts of 512 and 2048 tokens are left out: with 64 new ones they do not fit the context of 512",
    )
    assert BenchmarkSettings().fit(4096)[1] == ()


@pytest.mark.parametrize("values", [{"prompt_tokens": (500,)}, {"past": (500,), "batch": ()}])
def test_lengths_that_were_asked_for_have_to_fit(values: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="500 tokens and 64 new ones do not fit the context of 512 tokens"):
        BenchmarkSettings(**values).fit(512)


def test_a_batch_has_to_fit_too() -> None:
    with pytest.raises(OptionError, match="64 tokens and 64 new ones do not fit the context of 100 tokens"):
        BenchmarkSettings().fit(100)
    assert BenchmarkSettings(batch=(), prompt_tokens=(8,)).fit(100)[0].batch == ()
