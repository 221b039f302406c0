"""The fast path equals the specification, token for token."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from genai.config import SAMPLERS, GenerationConfig
from genai.sampling import processors
from genai.sampling.selection import Filters, keep_surprise, select

from .strategies import logits_rows, seeds

filter_options = st.builds(
    Filters,
    temperature=st.sampled_from([1.0, 0.3, 0.8, 2.5]),
    top_k=st.sampled_from([0, 0, 1, 2, 5, 50]),
    top_p=st.one_of(st.just(1.0), st.floats(0.01, 0.999)),
    min_p=st.one_of(st.just(0.0), st.floats(0.001, 1.0)),
    typical_p=st.one_of(st.just(1.0), st.floats(0.01, 0.99)),
)
rarer_filters = st.builds(
    Filters,
    temperature=st.sampled_from([1.0, 0.3, 2.5]),
    dynatemp_range=st.sampled_from([0.0, 0.25, 2.0]),
    dynatemp_exponent=st.sampled_from([0.5, 1.0, 2.0]),
    top_n_sigma=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    top_k=st.sampled_from([0, 3, 50]),
    top_p=st.one_of(st.just(1.0), st.floats(0.01, 0.999)),
    min_p=st.sampled_from([0.0, 0.05]),
    typical_p=st.sampled_from([1.0, 0.7]),
    epsilon_cutoff=st.sampled_from([0.0, 0.01, 0.3]),
    eta_cutoff=st.sampled_from([0.0, 0.01, 0.3]),
    xtc_probability=st.sampled_from([0.0, 0.5]),
    xtc_threshold=st.sampled_from([0.05, 0.1, 0.3]),
    order=st.permutations(SAMPLERS).flatmap(
        lambda names: st.integers(0, len(names)).map(lambda count: tuple(names[:count]))
    ),
)


def filtered(logits, filters, chance=1.0):
    """Apply the specification's filters."""
    scores = logits
    for name in filters.order:
        match name:
            case "temperature" if filters.dynatemp_range:
                scores = processors.apply_dynamic_temperature(
                    scores, filters.temperature, filters.dynatemp_range, filters.dynatemp_exponent
                )
            case "temperature":
                scores = processors.apply_temperature(scores, filters.temperature)
            case "top_n_sigma" if filters.top_n_sigma:
                scores = processors.keep_top_n_sigma(scores, filters.top_n_sigma)
            case "top_k":
                scores = processors.keep_top_k(scores, filters.top_k)
            case "top_p":
                scores = processors.keep_top_p(scores, filters.top_p)
            case "min_p":
                scores = processors.keep_min_p(scores, filters.min_p)
            case "typical_p":
                scores = processors.keep_typical_p(scores, filters.typical_p)
            case "epsilon_cutoff":
                scores = processors.keep_epsilon(scores, filters.epsilon_cutoff)
            case "eta_cutoff" if filters.eta_cutoff:
                scores = processors.keep_eta(scores, filters.eta_cutoff)
            case "xtc" if chance < filters.xtc_probability:
                scores = processors.exclude_top_choices(scores, filters.xtc_threshold)
    return scores


def assert_equal(logits, filters, uniforms, chance=1.0):
    scores = filtered(logits, filters, chance)
    for uniform in uniforms:
        assert select(logits, filters, uniform, chance) == processors.draw(scores, uniform), (
            filters,
            uniform,
        )


@example(np.array([0] * 8 + [29] + [0] * 8, np.float32), Filters(temperature=0.8), [])
@given(logits_rows(), filter_options, st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=3))
def test_small_vocabulary(logits, filters, uniforms):
    assert_equal(logits, filters, [0.0, *uniforms, 1 - 2**-53])


@given(logits_rows(), rarer_filters, st.floats(0, 1, exclude_max=True), st.sampled_from([0.2, 0.8]))
def test_any_order_of_all_filters(logits, filters, uniform, chance):
    assert_equal(logits, filters, [0.0, uniform, 1 - 2**-53], chance)


@settings(max_examples=50)
@given(seeds, st.sampled_from([1000, 20000]), st.booleans(), rarer_filters, st.sampled_from([0.2, 0.8]))
def test_any_order_of_all_filters_on_a_large_vocabulary(seed, vocab, rounded, filters, chance):
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal(vocab) * 2).astype(np.float32)
    if rounded:
        logits = np.round(logits * 4) / np.float32(4)
    assert_equal(logits, filters, rng.random(3).tolist(), chance)


@given(logits_rows(), st.sampled_from([-5000.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 30.0, 5000.0]))
def test_surprise_is_kept_as_specified(logits, most):
    expected = np.flatnonzero(processors.keep_surprise(logits, most) > -np.inf)
    np.testing.assert_array_equal(keep_surprise(logits, most), expected)


def test_what_is_off_costs_nothing():
    config = GenerationConfig(do_sample=True, top_k=0, min_p=0.1, samplers=["min_p", "xtc", "temperature"])
    assert Filters.of(config).order == ("min_p",)


@example(1, 20000, 0.1, False, Filters(temperature=2.5, min_p=0.5, typical_p=0.2578125))
@given(
    seeds,
    st.sampled_from([1000, 9000, 20000]),
    st.sampled_from([0.0, 0.1, 1.0, 4.0]),
    st.booleans(),
    filter_options,
)
def test_large_vocabulary(seed, vocab, scale, rounded, filters):
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal(vocab) * scale).astype(np.float32)
    if rounded:  # as from a bfloat16 model: many ties
        logits = np.round(logits * 4) / np.float32(4)
    logits[rng.random(vocab) < 0.1] = -np.inf
    logits[vocab // 2] = 0.0
    # Sums of blocks differ from one long sum in their last bits: nearer to 1 two tokens of no weight would be told apart.
    assert_equal(logits, filters, [0.0, *rng.random(5).tolist(), 1 - 2**-40])


@pytest.mark.parametrize("top_k", [1, 50, 600, 4000])
def test_top_k_where_the_best_share_a_group(top_k):
    logits = np.random.default_rng(1).standard_normal(50_000).astype(np.float32)
    logits[::2048] += 10
    assert_equal(logits, Filters(top_k=top_k), np.random.default_rng(2).random(50).tolist())


@given(logits_rows(), seeds)
def test_top_k_of_one_is_argmax(logits, seed):
    logits = np.unique(logits)  # ties with the first stay, as in transformers
    uniform = np.random.default_rng(seed).random()
    assert select(logits, Filters(top_k=1), uniform) == logits.argmax()


@given(logits_rows(), seeds)
def test_tiny_top_p_is_argmax(logits, seed):
    uniform = np.random.default_rng(seed).random()
    assert select(logits, Filters(top_p=1e-6), uniform) == logits.argmax()


@given(logits_rows(), filter_options, seeds)
def test_logits_stay_and_a_draw_repeats(logits, filters, seed):
    before = logits.copy()
    uniform = float(np.random.default_rng(seed).random())
    assert select(logits, filters, uniform) == select(logits, filters, uniform)
    np.testing.assert_array_equal(logits, before)
