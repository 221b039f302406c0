"""Penalties, biases and forced tokens against transformers' classes and what llama.cpp's own tests expect."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation import logits_process as hf

from genai.config import GenerationConfig
from genai.errors import OptionError
from genai.sampling import Sampler, processors
from genai.sampling.history.token_counts import TokenCounts

from .strategies import logits_rows
from .test_processors import logits_and_history, theirs


@given(logits_and_history(), st.sampled_from([0.5, 1.1, 1.7, 3.0]))
def test_encoder_repetition_penalty(case, penalty):
    logits, prompt = case
    logits = np.maximum(logits, -1e30)
    reference = theirs(hf.EncoderRepetitionPenaltyLogitsProcessor(penalty, torch.tensor([prompt])), logits)
    np.testing.assert_array_equal(processors.penalize_repetition(logits, prompt, 1 / penalty), reference)


@given(logits_and_history(), st.data())
def test_sequence_bias(case, data):
    logits, token_ids = case
    word = st.lists(st.integers(0, logits.size - 1), min_size=1, max_size=3).map(tuple)
    bias = data.draw(st.dictionaries(word, st.floats(-100, 100, width=32), min_size=1, max_size=5))
    reference = theirs(
        hf.SequenceBiasLogitsProcessor([[list(ids), value] for ids, value in bias.items()]), logits, token_ids
    )
    ours = processors.apply_sequence_bias(logits, token_ids, bias)
    np.testing.assert_allclose(ours, reference, rtol=1e-6, atol=1e-5)  # sums in another order


@given(logits_rows(min_size=3), st.integers(0, 12), st.integers(0, 6), st.sampled_from([0.9, 1.01, 1.5]))
def test_exponential_decay_length_penalty(logits, num_generated, start, factor):
    logits = np.maximum(logits, -1e30)
    processor = hf.ExponentialDecayLengthPenalty((start, factor), [0, 2], 3)
    reference = theirs(processor, logits, [1] * (3 + num_generated))
    ours = processors.raise_eos(logits, [0, 2], num_generated=num_generated, start=start, factor=factor)
    np.testing.assert_allclose(ours, reference, rtol=1e-6)


def test_a_decay_of_any_length_stays_finite():
    ours = processors.raise_eos(np.ones(2, np.float32), [0], num_generated=10**6, start=0, factor=2.0)
    assert np.isfinite(ours).all()


@given(logits_rows(min_size=3))
def test_forced_tokens(logits):
    np.testing.assert_array_equal(
        processors.force_tokens(logits, [1]), theirs(hf.ForcedBOSTokenLogitsProcessor(1), logits, [0])
    )
    np.testing.assert_array_equal(
        processors.force_tokens(logits, [0, 2]),
        theirs(hf.ForcedEOSTokenLogitsProcessor(2, [0, 2]), logits, [0]),
    )


@given(logits_rows(min_size=3), st.lists(st.integers(0, 50), min_size=1, max_size=4))
def test_begin_suppress_tokens(logits, token_ids):
    for length in (2, 3):
        config = GenerationConfig(begin_suppress_tokens=token_ids)
        sampler = Sampler(config, vocab_size=logits.size, prompt_token_ids=[0, 0], eos_token_ids=[], seed=0)
        for _ in range(length - 2):
            sampler.accept(0)
        reference = theirs(hf.SuppressTokensAtBeginLogitsProcessor(token_ids, 2), logits, [0] * length)
        np.testing.assert_array_equal(sampler.process_logits(logits), reference)
        assert not sampler.is_argmax or length == 3


def dry(token_ids, *, size, multiplier, allowed_length, last_n, breakers=()):
    return processors.softmax(
        processors.penalize_dry(
            np.full(size, np.log(1 / size), np.float32),
            token_ids,
            multiplier=multiplier,
            base=1.1,
            allowed_length=allowed_length,
            last_n=last_n,
            breakers=breakers,
        )
    )


# What tests/test-sampling.cpp of llama.cpp expects of the same inputs.
@pytest.mark.parametrize(
    ("token_ids", "expected", "options"),
    [
        ([0, 1], [0.25] * 4, {"multiplier": 1.0, "allowed_length": 2, "last_n": 4}),
        (
            [0, 1, 2, 0, 1],
            [0.296923, 0.296923, 0.109232, 0.296923],
            {"multiplier": 1.0, "allowed_length": 2, "last_n": 5},
        ),
        (
            [0, 1, 3, 4, 0, 1],
            [0.2] * 5,
            {"multiplier": 1.0, "allowed_length": 2, "last_n": 6, "breakers": [[3]]},
        ),
        (
            [0, 1, 2, 0, 1],
            [0.241818, 0.241818, 0.032727, 0.241818, 0.241818],
            {"multiplier": 2.0, "allowed_length": 2, "last_n": 5},
        ),
        ([0, 1, 2, 3, 4, 0, 1], [0.2] * 5, {"multiplier": 1.0, "allowed_length": 4, "last_n": 7}),
    ],
)
def test_dry(token_ids, expected, options):
    np.testing.assert_allclose(dry(token_ids, size=len(expected), **options), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("last_tokens", "expected", "repeat", "frequency", "presence"),
    [
        ([0], [0, 0.25, 0.25, 0.25, 0.25], 50.0, 0.0, 0.0),
        ([0, 1, 2, 0, 0], [0, 0, 0, 0.5, 0.5], 50.0, 0.0, 0.0),
        ([0], [0.000011, 0.249997, 0.249997, 0.249997, 0.249997], 1.0, 5.0, 5.0),
        ([0, 1, 2, 0, 0], [0, 0.000023, 0.000023, 0.499977, 0.499977], 1.0, 5.0, 5.0),
    ],
)
def test_penalties_of_a_window(last_tokens, expected, repeat, frequency, presence):
    """The window is as long as llama.cpp's, whose expectations these are, and begins after other tokens."""
    config = GenerationConfig(
        repetition_penalty=repeat,
        frequency_penalty=frequency,
        presence_penalty=presence,
        repetition_last_n=len(last_tokens),
    )
    sampler = Sampler(config, vocab_size=5, prompt_token_ids=[3, 4], eos_token_ids=[], seed=0)
    for token_id in (4, 3, *last_tokens):
        sampler.accept(token_id)
    processed = sampler.process_logits(np.full(5, np.log(0.2), np.float32))
    np.testing.assert_allclose(processors.softmax(processed), expected, atol=1e-5)


@given(st.lists(st.integers(0, 8), max_size=200), st.one_of(st.none(), st.integers(1, 20)))
def test_token_counts(token_ids, last_n):
    counts = TokenCounts(6, last_n)
    for end, token_id in enumerate(token_ids, start=1):
        counts.add(token_id)
        window = token_ids[max(end - last_n, 0) : end] if last_n is not None else token_ids[:end]
        expected = {i: window.count(i) for i in window if i < 6}
        assert dict(zip(counts.ids.tolist(), counts.counts.tolist(), strict=True)) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repetition_last_n": 3}, "means nothing without repetition_penalty or presence_penalty"),
        ({"dry_base": 2.0}, "dry_base means nothing without dry_multiplier"),
        ({"dry_multiplier": 1.0, "dry_base": 0.5}, "dry_base must be a number >= 1"),
        ({"sequence_bias": {(): 1.0}}, "a sequence without tokens"),
        ({"sequence_bias": [[1, 2, 3]]}, "must map sequences"),
        ({"exponential_decay_length_penalty": 3}, "exponential_decay_length_penalty must be"),
        ({"exponential_decay_length_penalty": (3, 1.1), "ignore_eos": True}, "ignore_eos goes past"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        GenerationConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sequence_bias": {(1, 9): 1.0}}, "sequence_bias names token id 9"),
        ({"sequence_bias": {(1, 2): 1e31}}, "sequence_bias of token id 1, 2 must be at most"),
        ({"forced_eos_token_id": 9}, "forced_eos_token_id names token id 9"),
        ({"forced_bos_token_id": 9}, "forced_bos_token_id names token id 9"),
        ({"exponential_decay_length_penalty": (3, 1.1)}, "set eos_token_ids"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Sampler(GenerationConfig(**options), vocab_size=9, prompt_token_ids=[], eos_token_ids=[], seed=0)


def test_files_may_write_lists():
    config = GenerationConfig.from_dict(
        {
            "sequence_bias": [[[1, 2], -1.5]],
            "exponential_decay_length_penalty": [5, 1.5],
            "forced_bos_token_id": 3,
        }
    )
    assert config.sequence_bias == {(1, 2): -1.5}
    assert config.exponential_decay_length_penalty == (5, 1.5)
    assert config.forced_bos_token_id is None
    assert GenerationConfig(repetition_penalty=1.1, repetition_last_n=-1).repetition_last_n is None
