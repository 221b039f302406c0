"""Filters of a draw against transformers' classes and against what llama.cpp's own tests expect."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers.generation import logits_process as hf

from genai.config import GenerationConfig
from genai.errors import OptionError
from genai.sampling import Sampler, processors
from genai.sampling.uniforms import UniformStream

from .strategies import logits_rows
from .test_processors import theirs

FOUR = [0.1, 0.2, 0.3, 0.4]
VOCAB = 12


def of(probabilities):
    return np.log(np.array(probabilities, np.float32))


def probabilities_of(logits):
    return processors.softmax(logits)


@given(logits_rows(), st.floats(0.001, 0.999))
def test_epsilon_cutoff(logits, epsilon):
    assume(np.abs(processors.softmax(logits) - epsilon).min() > 1e-6)
    reference = theirs(hf.EpsilonLogitsWarper(epsilon), logits)
    np.testing.assert_array_equal(processors.keep_epsilon(logits, epsilon), reference)


@given(logits_rows(), st.floats(0.001, 0.999))
def test_eta_cutoff(logits, epsilon):
    logits = np.where(logits < -1e30, -np.inf, logits).astype(np.float32)
    p = processors.softmax(logits).astype(np.float64)
    entropy = -(p[p > 0] * np.log(p[p > 0])).sum()
    floor = min(epsilon, math.sqrt(epsilon) * math.exp(-entropy))
    assume(np.abs(p - floor).min() > 1e-6)
    reference = theirs(hf.EtaLogitsWarper(epsilon), logits)
    np.testing.assert_array_equal(processors.keep_eta(logits, epsilon), reference)


@given(logits_rows())
def test_renormalized_logits(logits):
    reference = theirs(hf.LogitNormalization(), logits)
    np.testing.assert_allclose(processors.log_softmax(logits), reference, rtol=1e-5, atol=1e-5)


# What tests/test-sampling.cpp of llama.cpp expects of the same inputs.
@pytest.mark.parametrize(
    ("n", "expected"), [(1.0, [0, 0, 0.428571, 0.571429]), (3.0, FOUR)], ids=["one", "three"]
)
def test_top_n_sigma(n, expected):
    kept = processors.keep_top_n_sigma(of(FOUR), n)
    np.testing.assert_allclose(probabilities_of(kept), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.09, [0.1]), (0.19, [0.2, 0.1]), (0.29, [0.3, 0.2, 0.1]), (0.39, [0.4, 0.3, 0.2, 0.1])],
)
def test_xtc(threshold, expected):
    kept = processors.exclude_top_choices(of([0.4, 0.3, 0.2, 0.1]), threshold)
    np.testing.assert_allclose(np.exp(kept[kept > -np.inf]), expected, atol=1e-5)


@given(logits_rows(), st.floats(0, 4))
def test_top_n_sigma_by_its_definition(logits, n):
    possible = logits[logits > -1e30].astype(np.float64)
    deviation = math.sqrt(sum((x - possible.mean()) ** 2 for x in possible) / possible.size)
    limit = possible.max() - n * deviation
    assume(np.abs(possible - limit).min() > 1e-5)
    expected = [bool(x >= limit) for x in logits]
    assert (processors.keep_top_n_sigma(logits, n) > -np.inf).tolist() == expected


@given(logits_rows(), st.floats(0.01, 0.5))
def test_xtc_by_its_definition(logits, threshold):
    p = processors.softmax(logits)
    assume(np.abs(p - threshold).min() > 1e-6)
    ranked = sorted(range(p.size), key=lambda i: (-p[i], i))
    top = [i for i in ranked if p[i] >= threshold]
    expected = logits.copy()
    expected[top[:-1]] = -np.inf
    np.testing.assert_array_equal(processors.exclude_top_choices(logits, threshold), expected)


@given(logits_rows(), st.floats(0.1, 2), st.floats(0.01, 3), st.floats(0.1, 3))
def test_dynamic_temperature_by_its_definition(logits, temperature, spread, exponent):
    logits = np.where(logits < -1e30, -np.inf, logits).astype(np.float32)
    p = np.exp(logits[logits > -np.inf].astype(np.float64) - logits.max())
    p /= p.sum()
    expected = logits
    if p.size > 1:
        entropy = -sum(x * math.log(x) for x in p if x > 0)
        low = max(0.0, temperature - spread)
        share = min(max(entropy / math.log(p.size), 0.0), 1.0) ** exponent
        expected = logits / max(low + (temperature + spread - low) * share, 1e-5)
    ours = processors.apply_dynamic_temperature(logits, temperature, spread, exponent)
    np.testing.assert_allclose(ours, expected, rtol=2e-3, atol=1e-6)


@given(logits_rows(), st.floats(0, 12))
def test_surprise_by_its_definition(logits, most):
    p = processors.softmax(logits)
    surprise = [math.inf if x == 0 else -math.log2(x) for x in p]
    assume(min(abs(x - most) for x in surprise) > 1e-4)
    expected = [x <= most or i == int(logits.argmax()) for i, x in enumerate(surprise)]
    assert (processors.keep_surprise(logits, most) > -np.inf).tolist() == [
        keep and logits[i] > -np.inf for i, keep in enumerate(expected)
    ]


@pytest.mark.parametrize(
    "process",
    [
        lambda x: processors.apply_dynamic_temperature(x, 1.0, 0.5, 2.0),
        lambda x: processors.keep_top_n_sigma(x, 1.0),
        lambda x: processors.keep_epsilon(x, 0.1),
        lambda x: processors.keep_eta(x, 0.1),
        lambda x: processors.exclude_top_choices(x, 0.1),
        lambda x: processors.keep_surprise(x, 3.0),
    ],
)
def test_rows_are_independent_and_input_stays(process):
    rows = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)
    before = rows.copy()
    np.testing.assert_array_equal(process(rows), np.stack([process(row) for row in rows]))
    np.testing.assert_array_equal(rows, before)


def make_sampler(*, stream=0, **options):
    config = GenerationConfig(do_sample=True, **options)
    return Sampler(config, vocab_size=VOCAB, prompt_token_ids=[], eos_token_ids=[], stream=stream, seed=5)


def logits_at(step):
    return (np.random.default_rng(step).standard_normal(VOCAB) * 2).astype(np.float32)


def test_mirostat_follows_its_definition():
    sampler = make_sampler(mirostat=2, mirostat_tau=2.0, mirostat_eta=0.3, temperature=1.5)
    uniforms = UniformStream(5)
    limit = 4.0
    for step in range(200):
        scaled = logits_at(step).astype(np.float64) / 1.5
        p = np.exp(scaled) / np.exp(scaled).sum()
        kept = [i for i in range(VOCAB) if -math.log2(p[i]) <= limit] or [int(p.argmax())]
        share = p[kept] / p[kept].sum()
        expected = kept[int(np.argmax(share.cumsum() > uniforms.at(step)))]
        assert sampler.sample(logits_at(step)).token_id == expected
        assert sampler.sample(logits_at(step)).token_id == expected  # sampling again changes nothing
        limit -= 0.3 * (-math.log2(share[kept.index(expected)]) - 2.0)
        sampler.accept(expected)


def test_copies_of_mirostat_go_their_own_ways():
    one = make_sampler(mirostat=2, mirostat_tau=1.0, mirostat_eta=1.0)
    two = one.copy()
    for step in range(20):
        two.accept(two.sample(logits_at(step)).token_id)
    alone = make_sampler(mirostat=2, mirostat_tau=1.0, mirostat_eta=1.0)
    for step in range(20):
        expected = alone.sample(logits_at(step + 50)).token_id
        assert one.sample(logits_at(step + 50)).token_id == expected
        one.accept(expected)
        alone.accept(expected)


def test_xtc_is_drawn_by_numbers_of_its_own_and_as_often_as_asked_for():
    often = make_sampler(xtc_probability=0.25, xtc_threshold=0.01)
    logits = np.full(VOCAB, -20, np.float32)
    logits[[3, 4]] = 5, 4
    num_excluded = 0
    for _ in range(2000):
        token_ids = {often.sample(logits).token_id for _ in range(3)}
        assert len(token_ids) == 1
        often.accept(0)
        num_excluded += token_ids == {4}
    # The second token is drawn where the first is excluded, and at 27 % elsewhere.
    assert num_excluded / 2000 == pytest.approx(0.25 + 0.75 * 0.269, abs=0.04)
    chances = [UniformStream(5, purpose=1).at(i) for i in range(300)]
    draws = [UniformStream(5).at(i) for i in range(300)]
    assert abs(np.corrcoef(chances, draws)[0, 1]) < 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mirostat": 1}, "mirostat must be 0 or 2, not 1"),
        ({"mirostat": 2, "top_p": 0.9}, "mirostat .* cannot be combined with top_p"),
        ({"mirostat": 2, "samplers": ["top_k"]}, "leave samplers out"),
        ({"mirostat_tau": 3.0}, "mirostat_tau means nothing without mirostat"),
        ({"xtc_threshold": 0.2}, "xtc_threshold means nothing without xtc_probability"),
        ({"dynatemp_exponent": 2.0}, "dynatemp_exponent means nothing without dynatemp_range"),
        ({"xtc_probability": 0.5, "xtc_threshold": 0.6}, "xtc_threshold must be a number >= 0 and <= 0.5"),
        ({"epsilon_cutoff": 1.0}, "epsilon_cutoff must be a number >= 0 and < 1"),
        ({"samplers": ["top_k", "topp"]}, 'samplers knows no "topp". Did you mean "top_p"'),
        ({"samplers": ["penalties", "top_k"]}, "penalties and bans always come before"),
        ({"samplers": ["top_k", "top_k"]}, "must name each step once"),
        ({"samplers": ["top_k"], "min_p": 0.1}, "min_p is set, but samplers leaves it out"),
        ({"samplers": ["top_k"], "temperature": 0.5}, "temperature is set, but samplers leaves it out"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        GenerationConfig(do_sample=True, **options)


def test_mirostat_switches_off_the_filters_of_a_model():
    config = GenerationConfig(top_p=0.9, top_k=20, min_p=0.1).merge(mirostat=2)
    assert (config.top_p, config.top_k, config.min_p, config.is_sampling) == (1.0, 0, 0.0, True)
    with pytest.raises(OptionError, match="cannot be combined with min_p"):
        config.merge(min_p=0.2)


def test_names_of_llama_cpp_are_known():
    config = GenerationConfig(samplers=["typ_p", "top_p", "temperature"], do_sample=True)
    assert config.samplers == ("typical_p", "top_p", "temperature")
