"""The watermark against transformers' processor, and found by its detector."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, WatermarkDetector, WatermarkingConfig
from transformers.generation import logits_process as hf

from genai.config import GenerationConfig
from genai.errors import OptionError
from genai.sampling import Sampler, processors
from genai.sampling.history.watermark import green_tokens
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


@pytest.mark.parametrize("own", [{}, {"greenlist_ratio": 0.6, "bias": 0.5, "hashing_key": 2**40 + 1}])
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


def test_the_detector_finds_it_and_copies_go_their_own_ways():
    config = GPT2Config(vocab_size=VOCAB, bos_token_id=0)
    detector = WatermarkDetector(config, "cpu", WatermarkingConfig())
    scores = {}
    for is_marked in (False, True):
        sampler = make_sampler(do_sample=True, watermarking_config={} if is_marked else None)
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
        ({"watermarking_config": {"seeding_scheme": "selfhash"}}, "seeding_scheme can only be 'lefthash'"),
        ({"watermarking_config": {"ngram_len": 5}}, 'watermarking_config knows no "ngram_len"'),
        ({"watermarking_config": {"greenlist_ratio": 1.0}}, "greenlist_ratio must be a number > 0 and < 1"),
        ({"watermarking_config": {}, "mirostat": 2}, "mirostat measures the surprise"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        GenerationConfig(**options)
    written = WatermarkingConfig(bias=1.0).to_dict()
    assert GenerationConfig.from_dict({"watermarking_config": written}).watermarking_config.bias == 1.0
