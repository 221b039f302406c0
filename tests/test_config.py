from __future__ import annotations

from typing import Any

import pytest

from genai import GenerationConfig, OptionError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"early_stopping": 1}, "early_stopping must be True, False"),
        ({"stop_token_ids": 1.5}, "stop_token_ids must be a list"),
        ({"stop": [""]}, "stop must be non-empty"),
        ({"temperature": float("nan")}, "temperature must be a number"),
        ({"top_k": True}, "top_k must be an integer"),
        ({"temprature": 1.0}, 'Did you mean "temperature"'),
    ],
)
def test_impossible_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        GenerationConfig().merge(**options)


def test_what_hugging_face_writes_is_read() -> None:
    config = GenerationConfig.from_dict(
        {
            "do_sample": True,
            "temperature": 0.0,
            "top_k": None,
            "max_length": 4096,
            "eos_token_id": [1, 2],
            "stop_strings": "###",
            "transformers_version": "4.40.0",
        }
    )
    assert not config.is_sampling
    assert config.eos_token_ids == (1, 2)
    assert config.stop == ("###",)
