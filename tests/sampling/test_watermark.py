"""The watermark against transformers' processor, and found by its detector."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, SynthIDTextWatermarkingConfig, WatermarkDetector, WatermarkingConfig
from transformers.generation import logits_process as hf

from genai.config import GenerationConfig
from genai.errors import OptionError
from genai.sampling import Sampler, processors
from genai.sampling.history.green_list import green_tokens
from genai.sampling.history.self_hash import is_green
from genai.sampling.uniforms import UniformStream

from .test_processors import theirs

VOCAB = 200


def make_sampler(prompt=(3,), vocab_size=VOCAB, **options):
    config = GenerationConfig(**{"watermarking_config": {}, **options})
    return Sampler(config, vocab_size=vocab_size, prompt_token_ids=prompt, eos_token_ids=[], seed=1)


def logits_at(step, vocab_size=VOCAB):
    return (np.random.default_rng(step).standard_normal(vocab_size) * 2).astype(np.float32)


@given(st.integers(0, 2**70), st.integers(2, 3000), st.data())
@settings(max_examples=50)
def test_green_tokens_are_pytorchs(seed, vocab_size, data):
    count = data.draw(st.integers(0, vocab_size - 1))
    generator = torch.Generator()
    generator.manual_seed(seed % (2**64 - 1))
    expected = torch.randperm(vocab_size, generator=generator)[:count].tolist()
    assert green_tokens(seed, vocab_size, count).tolist() == expected


@given(st.integers(-(2**63), 2**70), st.integers(2, 300), st.data())
@settings(max_examples=50)
def test_one_token_is_green_if_it_is_among_all(seed, vocab_size, data):
    count = data.draw(st.integers(0, vocab_size))
    green = green_tokens(seed, vocab_size, count).tolist()
    assert [each for each in range(vocab_size) if is_green(each, seed, vocab_size, count)] == sorted(green)


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"greenlist_ratio": 0.6, "bias": 0.5, "hashing_key": 2**40 + 1},
        {"context_width": 4},
        {"seeding_scheme": "selfhash"},
        {"seeding_scheme": "selfhash", "context_width": 4, "greenlist_ratio": 0.5},
        {"seeding_scheme": "selfhash", "context_width": 2, "hashing_key": 2**62 + 1},
    ],
    ids=str,
)
def test_it_is_transformers(own):
    sampler = make_sampler(watermarking_config=own)
    reference = hf.WatermarkLogitsProcessor(VOCAB, "cpu", **own)
    token_ids = [3]
    for step in range(30):
        expected = theirs(reference, logits_at(step), token_ids)
        np.testing.assert_array_equal(sampler.process_logits(logits_at(step)), expected)
        token_ids.append(step * 7 % VOCAB)
        sampler.accept(token_ids[-1])


@pytest.mark.parametrize("options", [{"top_k": 5}, {"top_k": 0, "top_p": 0.8}, {"top_k": 0}])
def test_a_draw_is_marked_after_its_filters(options):
    sampler = make_sampler(do_sample=True, **options)
    reference = hf.WatermarkLogitsProcessor(VOCAB, "cpu")
    token_ids = [3]
    for step in range(60):
        scores = processors.keep_top_k(logits_at(step), options["top_k"])
        scores = processors.keep_top_p(scores, options.get("top_p", 1.0))
        expected = processors.draw(theirs(reference, scores, token_ids), UniformStream(1).at(step))
        assert sampler.sample(logits_at(step)).token_id == expected
        token_ids.append(expected)
        sampler.accept(expected)


@pytest.mark.parametrize(
    "own", [{}, {"seeding_scheme": "selfhash", "context_width": 2, "bias": 4.0}], ids=str
)
def test_the_detector_finds_it_and_copies_go_their_own_ways(own):
    config = GPT2Config(vocab_size=VOCAB, bos_token_id=0)
    detector = WatermarkDetector(config, "cpu", WatermarkingConfig(**own))
    scores = {}
    for is_marked in (False, True):
        sampler = make_sampler(do_sample=True, watermarking_config=own if is_marked else None)
        tokens = []
        for step in range(80):
            tokens.append(sampler.sample(logits_at(step)).token_id)
            sampler.copy().accept(9)
            sampler.accept(tokens[-1])
        scores[is_marked] = detector(torch.tensor([tokens]), return_dict=True).z_score[0]
    assert scores[True] > 4 > 3 > scores[False]


def test_what_has_no_tokens_yet_is_left_as_it_is():
    np.testing.assert_array_equal(make_sampler(prompt=()).process_logits(logits_at(0)), logits_at(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"watermarking_config": 3}, "must map names of settings"),
        (
            {"watermarking_config": {"seeding_scheme": "hash"}},
            'seeding_scheme must be "lefthash" or "selfhash"',
        ),
        (
            {"watermarking_config": {"seeding_scheme": "selfhash", "hashing_key": 2**63}},
            "hashing_key must be less than",
        ),
        ({"watermarking_config": {"biass": 5}}, 'knows no "biass". Did you mean "bias"'),
        ({"watermarking_config": {"ngram_len": 5}}, "watermarking_config needs keys"),
        ({"watermarking_config": {"ngram_len": 5, "keys": [1], "bias": 2.0}}, 'knows no "bias"'),
        (
            {"watermarking_config": {"ngram_len": 5, "keys": [1], "debug_mode": True}},
            "debug_mode can only be",
        ),
        ({"watermarking_config": {"ngram_len": 5, "keys": [2**63]}}, r"keys must be less than 2\*\*63"),
        ({"watermarking_config": {"greenlist_ratio": 1.0}}, "greenlist_ratio must be a number > 0 and < 1"),
        ({"watermarking_config": {}, "mirostat": 2}, "mirostat measures the surprise"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        GenerationConfig(**options)


def test_what_transformers_writes_is_read():
    written = WatermarkingConfig(bias=1.0).to_dict()
    assert GenerationConfig.from_dict({"watermarking_config": written}).watermarking_config.bias == 1.0
    written = WatermarkingConfig(seeding_scheme="selfhash", context_width=3).to_dict()
    assert GenerationConfig.from_dict({"watermarking_config": written}).watermarking_config.context_width == 3
    written = SynthIDTextWatermarkingConfig(ngram_len=5, keys=[6, 4]).to_dict()
    assert GenerationConfig.from_dict({"watermarking_config": written}).watermarking_config.keys == (6, 4)


@pytest.mark.parametrize(
    "own",
    [
        {"ngram_len": 5, "keys": [654, 400, 836, 123]},
        {"ngram_len": 2, "keys": [2**40, 7], "sampling_table_size": 999, "sampling_table_seed": 3},
        {"ngram_len": 3, "keys": [1, 2, 3], "skip_first_ngram_calls": True, "context_history_size": 4},
    ],
)
def test_synthid_is_transformers(own):
    sampler = make_sampler(watermarking_config=own)
    all_settings = {
        "sampling_table_size": 65536,
        "sampling_table_seed": 0,
        "context_history_size": 1024,
        "device": "cpu",
        **own,
    }
    reference = hf.SynthIDTextWatermarkLogitsProcessor(**all_settings)
    token_ids, num_unmarked = [3], 0
    for step in range(60):
        logits = processors.keep_top_k(processors.log_softmax(logits_at(step)), 40)
        expected = theirs(reference, logits, token_ids)
        ours = sampler.process_logits(logits)
        num_unmarked += bool((ours == logits).all())
        possible = logits > -np.inf
        # A token whose probability is gone has the lowest float there, and -inf here.
        np.testing.assert_allclose(
            processors.softmax(ours)[possible], processors.softmax(expected)[possible], rtol=1e-3, atol=1e-6
        )
        token_ids.append(step % 5)  # contexts come again
        sampler.accept(token_ids[-1])
    assert 0 < num_unmarked < 60


def test_synthid_leaves_probabilities_as_they_are_on_average():
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    total = np.zeros(3)
    for key in range(500):
        own = {"ngram_len": 2, "keys": [key, key + 1000]}
        total += processors.softmax(
            make_sampler(vocab_size=3, watermarking_config=own).process_logits(logits)
        )
    np.testing.assert_allclose(total / 500, [0.5, 0.3, 0.2], atol=0.04)


def test_copies_of_synthid_go_their_own_ways():
    own = {"ngram_len": 3, "keys": [1, 2]}
    one = make_sampler(watermarking_config=own)
    two = one.copy()
    for step in range(10):
        two.accept(step)
    np.testing.assert_array_equal(
        one.process_logits(logits_at(0)), make_sampler(watermarking_config=own).process_logits(logits_at(0))
    )
