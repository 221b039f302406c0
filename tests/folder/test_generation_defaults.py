from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai.config import GenerationConfig
from genai.errors import ModelFolderError
from genai.folder import ModelFolder, read_genai_config, write_genai_config
from genai.folder.generation_defaults import LengthLimits
from tests.folder.test_genai_config import config


def load(folder: Path, search: dict[str, Any], own: dict[str, Any] | None = None) -> ModelFolder:
    decoder = read_genai_config(config(search=search))
    (folder / "genai_config.json").write_text(json.dumps(write_genai_config(decoder)))
    (folder / "model.onnx").touch()
    if own is not None:
        (folder / "generation_config.json").write_text(json.dumps(own))
    return ModelFolder.load(folder)


def test_search_settings_become_the_folders_defaults(tmp_path: Path) -> None:
    search = {
        "do_sample": True,
        "temperature": 0.5,
        "top_k": 7,
        "top_p": 0.9,
        "repetition_penalty": 1.1,
        "no_repeat_ngram_size": 3,
        "random_seed": 4,
        "length_penalty": 2.0,
        "early_stopping": True,
        "past_present_share_buffer": True,
        "max_length": 128,
    }
    assert load(tmp_path, search).generation == GenerationConfig(
        do_sample=True,
        temperature=0.5,
        top_k=7,
        top_p=0.9,
        repetition_penalty=1.1,
        no_repeat_ngram_size=3,
        seed=4,
        length_penalty=2.0,
        early_stopping=True,
    )


def test_generation_config_goes_before_search_settings(tmp_path: Path) -> None:
    folder = load(
        tmp_path, {"do_sample": True, "temperature": 0.5, "top_k": 7}, {"temperature": 0.7, "top_k": None}
    )
    assert (folder.generation.temperature, folder.generation.top_k) == (0.7, 7)
    assert folder.generation.do_sample


def test_settings_that_mean_none(tmp_path: Path) -> None:
    generation = load(tmp_path, {"do_sample": False, "top_k": 1, "top_p": 0.0, "random_seed": -1}).generation
    assert generation == GenerationConfig()
    assert generation.merge(temperature=0.8).top_k == 50  # who samples after all has a choice
    assert load(tmp_path, {"do_sample": True, "top_k": 1}).generation.top_k == 1


@pytest.mark.parametrize(
    ("search", "own", "message"),
    [
        ({"top_p": 7}, None, "genai_config.json: search: top_p must be"),
        ({}, {"top_p": 7}, "generation_config.json: top_p must be"),
        ({"max_length": "long"}, None, "search.max_length must be an integer >= 0, not 'long'"),
    ],
)
def test_impossible_settings_are_named(
    tmp_path: Path, search: dict[str, Any], own: dict[str, Any] | None, message: str
) -> None:
    with pytest.raises(ModelFolderError, match=message):
        load(tmp_path, search, own)


@pytest.mark.parametrize(
    ("search", "own", "limits"),
    [
        ({}, None, LengthLimits()),
        (
            {"max_length": 128, "min_length": 0},
            None,
            LengthLimits(),
        ),  # the whole context, which limits nothing
        ({"max_length": 0}, None, LengthLimits()),
        ({"max_length": 60, "min_length": 9}, None, LengthLimits(9, 60)),
        ({"max_length": 60, "min_length": 9}, {"max_new_tokens": 5, "min_new_tokens": 1}, LengthLimits()),
    ],
)
def test_limits_on_a_whole_sequence(
    tmp_path: Path, search: dict[str, Any], own: dict[str, Any] | None, limits: LengthLimits
) -> None:
    assert load(tmp_path, search, own).limits == limits


@given(
    st.integers(0, 40),
    st.none() | st.integers(1, 40),
    st.integers(1, 50),
    st.dictionaries(st.sampled_from(["max_new_tokens"]), st.none() | st.integers(1, 40)),
)
def test_limits_as_options_are_possible_and_never_override(
    min_length: int, max_length: int | None, prompt_tokens: int, given: dict[str, int | None]
) -> None:
    options = LengthLimits(min_length, max_length).options(prompt_tokens, given)
    assert not options.keys() & given.keys()
    config = GenerationConfig().merge(**{"max_new_tokens": None, **options, **given})
    if not given and max_length is not None:
        assert config.max_new_tokens == max(max_length - prompt_tokens, 1)
    if max_length is None and not given:
        assert config.min_new_tokens == max(min_length - prompt_tokens, 0)
