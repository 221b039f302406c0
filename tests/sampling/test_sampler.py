"""The sampler of a sequence: its state against the specification with whole histories, its draws, its refusals."""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from genai.config import LEAST_TEMPERATURE, GenerationConfig
from genai.errors import GenerationError, OptionError
from genai.sampling import Sample, Sampler, log_softmax, processors

from .strategies import logits_rows, seeds

VOCAB = 12
EOS = (3, 40)


BREAKERS = [(7,), (1, 2)]


def make_sampler(
    config=None,
    *,
    vocab_size=VOCAB,
    prompt=(),
    eos=EOS,
    bad_words=(),
    breakers=(),
    max_new_tokens=None,
    stream=0,
    seed=0,
    **options,
):
    return Sampler(
        config or GenerationConfig(**options),
        vocab_size=vocab_size,
        prompt_token_ids=prompt,
        eos_token_ids=eos,
        bad_words_ids=bad_words,
        dry_breaker_ids=breakers,
        max_new_tokens=max_new_tokens,
        stream=stream,
        seed=seed,
    )


def random_logits(seed=0, vocab_size=VOCAB, scale=2.0):
    return (np.random.default_rng(seed).standard_normal(vocab_size) * scale).astype(np.float32)


def process(logits, config, prompt, generated, bad_words):
    """Apply the specification with the whole history."""
    history = [*prompt, *generated]
    bad_words = [word for word in bad_words if list(word) not in [[i] for i in EOS]]
    last_n = len(history) if config.repetition_last_n is None else config.repetition_last_n
    start = max(len(history) - last_n, 0)
    scores = processors.apply_logit_bias(logits, config.logit_bias)
    scores = processors.apply_sequence_bias(scores, history, config.sequence_bias)
    scores = processors.penalize_repetition(scores, prompt, 1 / config.encoder_repetition_penalty)
    scores = processors.penalize_repetition(scores, history[start:], config.repetition_penalty)
    scores = processors.penalize_presence_and_frequency(
        scores,
        generated[max(len(generated) - last_n, 0) :],
        presence_penalty=config.presence_penalty,
        frequency_penalty=config.frequency_penalty,
    )
    if config.dry_multiplier:
        scores = processors.penalize_dry(
            scores,
            history,
            multiplier=config.dry_multiplier,
            base=config.dry_base,
            allowed_length=config.dry_allowed_length,
            last_n=config.dry_penalty_last_n,
            breakers=BREAKERS,
        )
    if config.no_repeat_ngram_size:
        scores = processors.ban_repeated_ngrams(scores, history, config.no_repeat_ngram_size)
    scores = processors.ban_bad_words(scores, history, bad_words)
    scores = processors.ban_eos(
        scores, EOS, num_generated=len(generated), min_new_tokens=config.min_new_tokens
    )
    if config.forced_bos_token_id is not None and not generated:
        scores = processors.force_tokens(scores, [config.forced_bos_token_id])
    if config.forced_eos_token_id and len(generated) == LAST:
        scores = processors.force_tokens(scores, config.forced_eos_token_id)
    if config.exponential_decay_length_penalty is not None:
        start, factor = config.exponential_decay_length_penalty
        scores = processors.raise_eos(scores, EOS, num_generated=len(generated), start=start, factor=factor)
    scores = processors.suppress_tokens(scores, config.suppress_tokens)
    if len(generated) == int(config.forced_bos_token_id is not None):
        scores = processors.suppress_tokens(scores, config.begin_suppress_tokens)
    return scores


LAST = 6
tokens = st.integers(0, VOCAB - 1)
configs = st.builds(
    GenerationConfig,
    max_new_tokens=st.none(),
    min_new_tokens=st.integers(0, 4),
    repetition_penalty=st.sampled_from([1.0, 0.7, 1.3]),
    presence_penalty=st.sampled_from([0.0, 0.5, -1.0]),
    frequency_penalty=st.sampled_from([0.0, 0.25]),
    no_repeat_ngram_size=st.integers(0, 4),
    encoder_repetition_penalty=st.sampled_from([1.0, 1.5]),
    sequence_bias=st.dictionaries(
        st.lists(tokens, min_size=1, max_size=3).map(tuple), st.sampled_from([-np.inf, -2.0, 1.5]), max_size=4
    ),
    dry_multiplier=st.sampled_from([0.0, 0.8]),
    exponential_decay_length_penalty=st.sampled_from([None, (3, 1.05)]),
    begin_suppress_tokens=st.lists(tokens, max_size=2),
    forced_bos_token_id=st.sampled_from([None, None, 5]),
    forced_eos_token_id=st.sampled_from([(), (3,)]),
    logit_bias=st.dictionaries(tokens, st.sampled_from([-np.inf, -2.0, 1.5]), max_size=3),
    suppress_tokens=st.lists(st.integers(0, VOCAB + 5), max_size=2),
)
windowed = st.builds(
    GenerationConfig,
    repetition_penalty=st.just(1.3),
    presence_penalty=st.sampled_from([0.0, 0.5]),
    frequency_penalty=st.sampled_from([0.0, 0.25]),
    repetition_last_n=st.one_of(st.none(), st.integers(-1, 30)),
    dry_multiplier=st.just(0.8),
    dry_base=st.sampled_from([1.0, 1.75, 100.0]),
    dry_allowed_length=st.integers(1, 4),
    dry_penalty_last_n=st.one_of(st.none(), st.integers(-1, 30)),
)


@settings(max_examples=200)
@given(
    configs,
    st.lists(st.integers(0, VOCAB + 3), max_size=20),  # a prompt may hold tokens that have no logit
    st.lists(tokens, max_size=90),
    st.lists(st.lists(st.integers(0, VOCAB + 1), min_size=1, max_size=3), max_size=3),
    seeds,
)
def test_state_equals_whole_history(config, prompt, generated, bad_words, seed):
    logits = random_logits(seed)
    before = logits.copy()
    sampler = make_sampler(
        config, prompt=prompt, bad_words=bad_words, breakers=BREAKERS, max_new_tokens=LAST + 1
    )
    for step in range(len(generated) + 1):
        expected = process(logits, config, prompt, generated[:step], bad_words)
        np.testing.assert_allclose(sampler.process_logits(logits), expected, rtol=1e-6)
        if step < len(generated):
            sampler.accept(generated[step])
    np.testing.assert_array_equal(logits, before)


@given(
    windowed,
    st.lists(st.integers(0, 3) | st.integers(0, VOCAB + 3), max_size=30),
    st.lists(st.integers(0, 3) | tokens, max_size=60),  # few tokens repeat each other
    seeds,
)
def test_windows_equal_whole_history(config, prompt, generated, seed):
    logits = random_logits(seed)
    sampler = make_sampler(config, prompt=prompt, breakers=BREAKERS)
    for step in range(len(generated) + 1):
        expected = process(logits, config, prompt, generated[:step], ())
        np.testing.assert_allclose(sampler.process_logits(logits), expected, rtol=1e-5)
        if step < len(generated):
            sampler.accept(generated[step])


@given(
    st.one_of(configs, windowed),
    st.lists(tokens, max_size=10),
    st.lists(tokens, min_size=1, max_size=80),
    seeds,
)
def test_copies_go_their_own_ways(config, prompt, generated, seed):
    logits = random_logits(seed)
    bad_words = [[1, 2], [4]]
    one = make_sampler(config, prompt=prompt, bad_words=bad_words, breakers=BREAKERS, max_new_tokens=LAST + 1)
    for token_id in generated:
        one.accept(token_id)
    two = one.copy()
    for token_id in generated:
        two.accept((token_id + 1) % VOCAB)
    expected = process(logits, config, prompt, generated, bad_words)
    np.testing.assert_allclose(one.process_logits(logits), expected, rtol=1e-6)
    longer = [*generated, *((i + 1) % VOCAB for i in generated)]
    expected = process(logits, config, prompt, longer, bad_words)
    np.testing.assert_allclose(two.process_logits(logits), expected, rtol=1e-6)


@given(logits_rows(max_size=12))
def test_greedy_is_argmax(logits):
    sampler = make_sampler(vocab_size=logits.size)
    assert sampler.is_argmax
    assert sampler.sample(logits) == Sample(int(logits.argmax()))


@pytest.mark.parametrize("temperature", [0, 0.0, LEAST_TEMPERATURE / 2])
def test_vanishing_temperature_is_argmax(temperature):
    assert make_sampler(do_sample=True, temperature=temperature).is_argmax


@pytest.mark.parametrize(
    "options",
    [
        {"logprobs": True},
        {"do_sample": True},
        {"repetition_penalty": 1.1},
        {"presence_penalty": 0.1},
        {"frequency_penalty": 0.1},
        {"logit_bias": {1: 1.0}},
        {"suppress_tokens": (1,)},
        {"no_repeat_ngram_size": 2},
    ],
    ids=str,
)
def test_is_argmax_is_false(options):
    assert not make_sampler(**options).is_argmax


def test_a_vanishing_temperature_draws_no_different_sequences():
    with pytest.raises(OptionError, match="num_return_sequences"):
        GenerationConfig(temperature=LEAST_TEMPERATURE / 2, num_return_sequences=4)


@pytest.mark.parametrize("options", [{}, {"stop_token_ids": [3]}])
def test_min_new_tokens_ends(options):
    sampler = make_sampler(min_new_tokens=2, eos=[] if options else EOS, **options)
    logits = np.zeros(VOCAB, np.float32)
    logits[3] = 9
    for _ in range(2):
        assert not sampler.is_argmax
        assert sampler.sample(logits).token_id == 0
        sampler.accept(0)
    assert sampler.is_argmax
    assert sampler.sample(logits).token_id == 3


def test_an_eos_token_as_bad_word_is_passed_over():
    assert make_sampler(bad_words=[[3]]).is_argmax
    assert not make_sampler(bad_words=[[3, 3]]).is_argmax


def run(sampler, num_tokens, vocab_size=VOCAB):
    generated = []
    for step in range(num_tokens):
        generated.append(sampler.sample(random_logits(step, vocab_size)).token_id)
        sampler.accept(generated[-1])
    return generated


def test_same_seed_same_tokens():
    first, again = (run(make_sampler(do_sample=True, seed=5), 200) for _ in range(2))
    assert first == again
    assert first != run(make_sampler(do_sample=True, seed=6), 200)


def test_streams_are_independent():
    flat = np.zeros(4, np.float32)
    table = np.zeros((4, 4))
    one, two = (make_sampler(vocab_size=4, do_sample=True, seed=5, stream=i) for i in range(2))
    for _ in range(4000):
        pair = one.sample(flat).token_id, two.sample(flat).token_id
        table[pair] += 1
        one.accept(pair[0])
        two.accept(pair[1])
    assert stats.chisquare(table.ravel()).pvalue > 0.001


def test_a_position_sampled_again_gives_the_same_token():
    sampler = make_sampler(do_sample=True, temperature=3.0)
    logits = random_logits()
    for _ in range(70):
        assert len({sampler.sample(logits).token_id for _ in range(3)}) == 1
        sampler.accept(0)


def test_draw_belongs_to_the_position_whoever_chose_the_tokens_before():
    logits = random_logits()
    one, two = (make_sampler(do_sample=True, temperature=3.0) for _ in range(2))
    for _ in range(100):
        one.accept(one.sample(logits).token_id)
        two.accept(0)
    assert one.sample(logits) == two.sample(logits)


@given(seeds)
@settings(max_examples=20)
def test_never_a_banned_token(seed):
    config = GenerationConfig(
        do_sample=True,
        temperature=50.0,
        suppress_tokens=(0,),
        logit_bias={1: -np.inf},
        min_new_tokens=30,
        max_new_tokens=None,
    )
    sampler = make_sampler(config, bad_words=[[2], [4, 5]], seed=seed)
    generated = run(sampler, 60)
    assert not {0, 1, 2} & set(generated)
    assert 3 not in generated[:30]
    assert (4, 5) not in set(itertools.pairwise(generated))


@given(seeds, st.integers(1, 3))
@settings(max_examples=20)
def test_no_ngram_twice(seed, size):
    sampler = make_sampler(do_sample=True, temperature=5.0, no_repeat_ngram_size=size, seed=seed)
    generated = run(sampler, min(60, VOCAB**size - 4))
    grams = [tuple(generated[i : i + size]) for i in range(len(generated) - size + 1)]
    assert len(grams) == len(set(grams))


@given(logits_rows(min_size=3, max_size=30), st.integers(0, 20), st.booleans(), seeds)
def test_logprobs(logits, num_top, do_sample, seed):
    sampler = make_sampler(
        vocab_size=logits.size,
        do_sample=do_sample,
        temperature=0.3 if do_sample else 1.0,
        logprobs=True,
        top_logprobs=num_top,
        seed=seed,
        logit_bias={0: 2.0},
    )
    sample = sampler.sample(logits)
    expected = log_softmax(logits)  # of the raw distribution: before bias and temperature
    assert sample.logprob == pytest.approx(expected[sample.token_id], abs=1e-4)
    assert len(sample.top_logprobs) == min(num_top, logits.size)
    ids = [i for i, _ in sample.top_logprobs]
    values = [value for _, value in sample.top_logprobs]
    assert ids == np.argsort(-logits, kind="stable")[: len(ids)].tolist()
    assert values == sorted(values, reverse=True)
    np.testing.assert_allclose(values, expected[ids], atol=1e-4)
    assert dict(sample.top_logprobs).get(sample.token_id, sample.logprob) == sample.logprob


@pytest.mark.parametrize(
    "options", [{}, {"do_sample": True}, {"repetition_penalty": 1.2}, {"logprobs": True}]
)
@pytest.mark.parametrize(
    ("value", "named"), [(np.nan, "1 of 12 are NaN"), (np.inf, r"1 of 12 are \+inf"), (None, "all are -inf")]
)
def test_unusable_logits_are_refused(options, value, named):
    logits = random_logits()
    if value is None:
        logits[:] = -np.inf
    else:
        logits[7] = value
    sampler = make_sampler(**options)
    sampler.accept(1)
    with pytest.raises(GenerationError, match=f"generated token 1 are not usable: {named}"):
        sampler.sample(logits)


def test_banning_every_token_is_refused():
    sampler = make_sampler(suppress_tokens=tuple(range(VOCAB - 1)), bad_words=[[VOCAB - 1]])
    with pytest.raises(GenerationError, match=r"no token is left .* bad_words, suppress_tokens forbid"):
        sampler.sample(random_logits())


def test_overflowing_options_are_refused():
    sampler = make_sampler(repetition_penalty=1e-38, logit_bias={1: 1e30}, prompt=[1])
    with pytest.raises(GenerationError, match="logit_bias, repetition_penalty take a logit beyond the range"):
        sampler.sample(random_logits())


@pytest.mark.parametrize("value", [1e-308, 1e308])
@pytest.mark.parametrize(
    "name", ["repetition_penalty", "encoder_repetition_penalty", "presence_penalty", "frequency_penalty"]
)
def test_numbers_beyond_float32_give_a_token_or_an_error_of_their_own(name, value):
    for sign in (1, -1) if name.endswith(("presence_penalty", "frequency_penalty")) else (1,):
        sampler = make_sampler(prompt=[1], **{name: sign * value})
        logits = random_logits()
        logits[1] = 0
        with contextlib.suppress(GenerationError):
            for _ in range(3):
                token_id = sampler.sample(logits).token_id
                assert 0 <= token_id < VOCAB
                sampler.accept(token_id)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"logit_bias": {VOCAB: 1.0}}, "logit_bias names token id 12, but this model has token ids 0 to 11"),
        ({"logit_bias": {1: 1e31}}, "must be at most 1e\\+30"),
        ({"bad_words": [[]]}, "bad_words"),
    ],
)
def test_impossible_options_are_refused(options, message):
    bad_words = options.pop("bad_words", ())
    with pytest.raises(OptionError, match=message):
        make_sampler(bad_words=bad_words, **options)


def test_padding_at_the_lowest_float_is_no_overflow():
    logits = random_logits()
    logits[5:] = np.finfo(np.float32).min
    config = GenerationConfig(do_sample=True, temperature=0.1, repetition_penalty=2.0)
    sampler = make_sampler(config, prompt=range(VOCAB))
    assert all(token_id < 5 for token_id in run_fixed(sampler, logits, 50))


def run_fixed(sampler, logits, num_tokens):
    generated = []
    for _ in range(num_tokens):
        generated.append(sampler.sample(logits).token_id)
        sampler.accept(generated[-1])
    return generated
