"""Every processor against transformers' own class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers import GenerationConfig as TransformersConfig
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.generation import logits_process as hf

from genai.sampling import processors

from .strategies import logits_rows, seeds


def theirs(processor, logits, token_ids=(0,)):
    ids = torch.tensor([list(token_ids)], dtype=torch.long)
    return processor(ids, torch.from_numpy(logits.copy())[None])[0].numpy()


def kept(logits):
    return (logits > -np.inf).tolist()


@st.composite
def logits_and_history(draw, max_length=30):
    logits = draw(logits_rows(min_size=2, max_size=8))
    token_ids = draw(st.lists(st.integers(0, logits.size - 1), min_size=1, max_size=max_length))
    return logits, token_ids


@given(logits_and_history(), st.sampled_from([0.5, 1.1, 1.7, 3.0]))
def test_repetition_penalty(case, penalty):
    logits, token_ids = case
    ours = processors.penalize_repetition(np.maximum(logits, -1e30), token_ids, penalty)
    reference = theirs(hf.RepetitionPenaltyLogitsProcessor(penalty), np.maximum(logits, -1e30), token_ids)
    np.testing.assert_array_equal(ours, reference)


def test_repetition_penalty_passes_over_tokens_without_a_logit():
    logits = np.array([1, 2], np.float32)
    np.testing.assert_array_equal(
        processors.penalize_repetition(logits, [1, 5], 2.0),
        theirs(hf.RepetitionPenaltyLogitsProcessor(2.0), logits, [1, 5]),
    )


@given(logits_and_history(), st.integers(1, 5))
def test_no_repeat_ngram(case, size):
    logits, token_ids = case
    reference = theirs(hf.NoRepeatNGramLogitsProcessor(size), logits, token_ids)
    np.testing.assert_array_equal(processors.ban_repeated_ngrams(logits, token_ids, size), reference)


@given(logits_and_history(), st.data())
def test_bad_words(case, data):
    logits, token_ids = case
    word = st.lists(st.integers(0, logits.size - 1), min_size=1, max_size=3)
    bad_words = data.draw(st.lists(word, min_size=1, max_size=4))
    reference = theirs(hf.NoBadWordsLogitsProcessor(bad_words), logits, token_ids)
    np.testing.assert_array_equal(processors.ban_bad_words(logits, token_ids, bad_words), reference)


@given(logits_rows(), st.lists(st.integers(0, 50), min_size=1, max_size=5))
def test_suppress_tokens(logits, token_ids):
    reference = theirs(hf.SuppressTokensLogitsProcessor(token_ids), logits)
    np.testing.assert_array_equal(processors.suppress_tokens(logits, token_ids), reference)


@given(
    logits_rows(), st.lists(st.integers(0, 50), min_size=1, max_size=3), st.integers(0, 6), st.integers(0, 6)
)
def test_min_new_tokens(logits, eos_token_ids, num_generated, min_new_tokens):
    processor = hf.MinNewTokensLengthLogitsProcessor(3, min_new_tokens, eos_token_ids)
    reference = theirs(processor, logits, [0] * (3 + num_generated))
    ours = processors.ban_eos(
        logits, eos_token_ids, num_generated=num_generated, min_new_tokens=min_new_tokens
    )
    np.testing.assert_array_equal(ours, reference)


@given(logits_rows(), st.data())
def test_logit_bias(logits, data):
    ids = st.integers(0, logits.size - 1)
    bias = data.draw(st.dictionaries(ids, st.floats(-100, 100, width=32), min_size=1, max_size=4))
    reference = theirs(hf.SequenceBiasLogitsProcessor([[[i], b] for i, b in bias.items()]), logits)
    np.testing.assert_array_equal(processors.apply_logit_bias(logits, bias), reference)


def test_presence_and_frequency_are_openais():
    logits = np.zeros(4, np.float32)
    generated = [1, 1, 3, 1]
    ours = processors.penalize_presence_and_frequency(
        logits, generated, presence_penalty=0.5, frequency_penalty=0.25
    )
    # https://platform.openai.com/docs/guides/text-generation: mu[j] - c[j] * frequency - (c[j] > 0) * presence
    counts = np.bincount(generated, minlength=4)
    np.testing.assert_array_equal(ours, (logits - counts * 0.25 - (counts > 0) * 0.5).astype(np.float32))


@given(logits_rows(), st.floats(0.01, 100))
def test_temperature(logits, temperature):
    logits = np.maximum(logits, -1e30)
    reference = theirs(hf.TemperatureLogitsWarper(temperature), logits)
    np.testing.assert_array_equal(processors.apply_temperature(logits, temperature), reference)


@given(logits_rows(), st.integers(1, 50))
def test_top_k(logits, k):
    reference = theirs(hf.TopKLogitsWarper(k), logits)
    np.testing.assert_array_equal(processors.keep_top_k(logits, k), reference)


@given(logits_rows(), st.floats(0.001, 0.999))
def test_top_p(logits, p):
    cumulative = np.cumsum(np.sort(processors.softmax(logits)), dtype=np.float64)
    assume(np.abs(cumulative - (1 - p)).min() > 1e-6)  # our exp and theirs differ by a rounding
    reference = theirs(hf.TopPLogitsWarper(p), logits)
    ours = processors.keep_top_p(logits, p)
    # Which of equal tokens stay is up to torch's unstable sort; how many is not. Ours are the first ones.
    np.testing.assert_array_equal(np.sort(ours), np.sort(reference))
    for value in set(ours[ours > -np.inf].tolist()):
        stays = kept(ours[logits == value])
        assert stays == sorted(stays, reverse=True)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 10, 16])
def test_top_p_of_equal_tokens(n):
    logits = np.full(n, 1.5, np.float32)
    for p in {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9} | {i / n for i in range(1, n)}:
        reference = theirs(hf.TopPLogitsWarper(p), logits)
        assert sum(kept(processors.keep_top_p(logits, p))) == sum(kept(reference)), (n, p)


@given(logits_rows(), st.floats(0.0, 1.0))
def test_min_p(logits, p):
    relative = np.exp(logits.astype(np.float64) - logits.max())
    assume((np.abs(relative - p) > 1e-6 * p).all() or p == 1)
    reference = theirs(hf.MinPLogitsWarper(p), logits)
    np.testing.assert_array_equal(processors.keep_min_p(logits, p), reference)


@given(logits_rows(), st.floats(0.01, 0.99))
def test_typical_p(logits, mass):
    logits = np.where(logits < -1e30, -np.inf, logits).astype(np.float32)
    log_p = processors.log_softmax(logits).astype(np.float64)
    finite = log_p > -np.inf
    entropy = -(np.exp(log_p[finite]) * log_p[finite]).sum()
    distance = np.sort(np.abs(-log_p[finite] - entropy))
    # Where two tokens are equally far from the entropy up to a rounding, or the mass falls on a sum, either may stay.
    assume((np.diff(np.unique(logits[finite])) > 1e-4).all())
    gaps = np.diff(distance)
    assume(((gaps == 0) | (gaps > 1e-4)).all())
    order = np.argsort(np.abs(-log_p[finite] - entropy), kind="stable")
    assume(np.abs(np.exp(log_p[finite][order]).cumsum() - mass).min() > 1e-5)
    same_distance = len(set(np.round(log_p[finite], 3))) == len(set(np.round(distance, 3)))
    assume(same_distance)
    reference = theirs(hf.TypicalLogitsWarper(mass), logits)
    np.testing.assert_array_equal(processors.keep_typical_p(logits, mass), reference)


@given(logits_rows())
def test_log_softmax(logits):
    reference = torch.log_softmax(torch.from_numpy(logits), dim=-1).numpy()
    np.testing.assert_allclose(processors.log_softmax(logits), reference, rtol=1e-5, atol=1e-5)


def test_order_is_that_of_transformers():
    config = TransformersConfig(
        do_sample=True,
        temperature=0.5,
        top_k=3,
        top_p=0.5,
        min_p=0.1,
        typical_p=0.5,
        sequence_bias=[[[1], 1.0]],
        repetition_penalty=2.0,
        no_repeat_ngram_size=2,
        bad_words_ids=[[1]],
        min_new_tokens=3,
        suppress_tokens=[1],
        eos_token_id=2,
    )
    model = GPT2LMHeadModel(GPT2Config(vocab_size=8, n_embd=4, n_layer=1, n_head=1, n_positions=8))
    model._prepare_special_tokens(config)
    names = [type(p).__name__ for p in model._get_logits_processor(config, input_ids_seq_length=1)]
    assert names == [
        "SequenceBiasLogitsProcessor",
        "RepetitionPenaltyLogitsProcessor",
        "NoRepeatNGramLogitsProcessor",
        "NoBadWordsLogitsProcessor",
        "MinNewTokensLengthLogitsProcessor",
        "SuppressTokensLogitsProcessor",
        "TemperatureLogitsWarper",
        "TopKLogitsWarper",
        "TopPLogitsWarper",
        "MinPLogitsWarper",
        "TypicalLogitsWarper",
    ]


@pytest.mark.parametrize(
    "process",
    [
        lambda x: processors.apply_temperature(x, 0.7),
        lambda x: processors.keep_top_k(x, 3),
        lambda x: processors.keep_top_p(x, 0.6),
        lambda x: processors.keep_min_p(x, 0.2),
        lambda x: processors.keep_typical_p(x, 0.6),
        lambda x: processors.penalize_repetition(x, [0, 2], 1.5),
        lambda x: processors.suppress_tokens(x, [0, 2]),
        processors.softmax,
        processors.log_softmax,
    ],
)
def test_rows_are_independent_and_input_stays(process):
    rows = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)
    before = rows.copy()
    np.testing.assert_array_equal(process(rows), np.stack([process(row) for row in rows]))
    np.testing.assert_array_equal(rows, before)


@given(logits_rows(), seeds)
def test_draw_is_never_forbidden(logits, seed):
    for uniform in (0.0, np.random.default_rng(seed).random(), 1 - 2**-53):
        token_id = processors.draw(logits, float(uniform))
        assert np.exp(logits - logits.max())[token_id] > 0
