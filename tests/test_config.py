from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import transformers

from genai import GenerationConfig, GenerationOptions, OptionError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"early_stopping": 1}, "early_stopping must be True, False"),
        ({"stop_token_ids": 1.5}, "stop_token_ids must be a list"),
        ({"stop": [""]}, "stop must be non-empty"),
        ({"temperature": float("nan")}, "temperature must be a number"),
        ({"temperature": 10**400}, "temperature must be a number"),
        ({"top_k": True}, "top_k must be an integer"),
        ({"temprature": 1.0}, 'Did you mean "temperature"'),
    ],
)
def test_impossible_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        GenerationConfig().merge(**options)
    assert caught.value.option in options


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


def test_sampling_options_imply_do_sample_and_beams_turn_it_off() -> None:
    assert GenerationConfig(temperature=0.7).do_sample is True
    assert GenerationConfig(temperature=0.7, do_sample=False).do_sample is False
    assert GenerationConfig().do_sample is False
    from_file = GenerationConfig.from_dict({"temperature": 0.6})
    assert from_file.do_sample is False
    sampling = GenerationConfig.from_dict({"temperature": 0.6, "do_sample": True})
    assert sampling.merge(num_beams=4).do_sample is False
    assert GenerationConfig.from_dict({"do_sample": True, "num_beams": 2}).num_beams == 2
    with pytest.raises(OptionError, match="cannot be combined with sampling"):
        GenerationConfig().merge(num_beams=2, temperature=0.5)


def test_numbers_are_finite() -> None:
    with pytest.raises(OptionError, match="temperature"):
        GenerationConfig(temperature=float("inf"))
    assert GenerationConfig(logit_bias={1: float("-inf")}).logit_bias == {1: float("-inf")}


def test_options_by_name_are_the_fields_of_the_config() -> None:
    fields = [field.name for field in dataclasses.fields(GenerationConfig)]
    assert list(GenerationOptions.__annotations__) == fields


def test_neutral_values_of_a_whole_file_are_read() -> None:
    """What transformers 4 writes with `to_dict`, and what version 5 does."""
    old = {
        "num_beam_groups": 1,
        "diversity_penalty": 0.0,
        "encoder_repetition_penalty": 1.0,
        "epsilon_cutoff": 0.0,
        "eta_cutoff": 0.0,
        "exponential_decay_length_penalty": None,
        "forced_bos_token_id": None,
        "forced_eos_token_id": None,
        "begin_suppress_tokens": None,
        "guidance_scale": None,
        "max_time": None,
        "renormalize_logits": False,
        "sequence_bias": None,
        "watermarking_config": None,
    }
    plain = GenerationConfig.from_dict({})
    assert GenerationConfig.from_dict(old) == plain
    assert GenerationConfig.from_dict(transformers.GenerationConfig().to_dict()) == plain


def test_breakers_of_repetitions_are_few_and_short() -> None:
    with pytest.raises(OptionError, match="dry_sequence_breakers may be 64 texts at most, not 65"):
        GenerationConfig(dry_multiplier=1.0, dry_sequence_breakers=[str(i) for i in range(65)])
    with pytest.raises(OptionError, match="a text may have 64 characters at most, not 65"):
        GenerationConfig(dry_multiplier=1.0, dry_sequence_breakers=["x" * 65])


@pytest.mark.parametrize(
    ("name", "ours"),
    [("n", "num_return_sequences"), ("max_tokens", "max_new_tokens"), ("n_predict", "max_new_tokens")],
)
def test_what_other_tools_call_an_option_is_told(name: str, ours: str) -> None:
    with pytest.raises(OptionError, match=f'Here it is called "{ours}"'):
        GenerationConfig().merge(**{name: 1})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"do_sample": False, "temperature": 0.8}, "temperature means nothing in greedy search"),
        ({"do_sample": False, "top_k": 5}, "top_k means nothing in greedy search"),
        ({"length_penalty": 2.0}, "length_penalty means nothing in greedy search"),
        ({"temperature": 0.8, "early_stopping": True}, "early_stopping means nothing in sampling"),
        ({"num_beams": 2, "best_of": 4}, "best_of"),
    ],
)
def test_what_a_search_would_ignore_is_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        GenerationConfig().merge(**options)


def test_defaults_of_a_model_may_be_for_another_search() -> None:
    of_the_model = GenerationConfig(temperature=0.6, top_p=0.9)
    assert not of_the_model.merge(do_sample=False).is_sampling
    assert not of_the_model.merge(temperature=0, top_k=5).is_sampling
    assert of_the_model.merge(num_beams=2, do_sample=False, length_penalty=2.0).num_beams == 2
    assert of_the_model.merge(do_sample=False, top_p=1.0, length_penalty=1.0) == of_the_model.merge(
        do_sample=False, top_p=1.0
    )
