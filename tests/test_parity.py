"""The whole way against Hugging Face transformers: checkpoint, export, Generator, for every family."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genai import Generator
from tests.checkpoints import FAMILIES, load_reference

Folders = Callable[..., tuple[Path, Path]]

NUM_TOKENS = 64


class Pair:
    """A model in transformers and in genai, and prompts for both."""

    def __init__(self, checkpoint: Path, folder: Path) -> None:
        self.reference = load_reference(checkpoint)
        self.generator = Generator(folder, provider="cpu", num_threads=1)
        random = np.random.default_rng(1)
        self.prompts = [random.integers(3, 320, n).tolist() for n in (1, 7, 30, 61)]
        self.can_truncate = self.generator._decoder.cache.can_truncate

    def expected(self, prompt: list[int], count: int = NUM_TOKENS, **options: Any) -> list[list[int]]:
        """Return what transformers generates, without the prompt."""
        forget(self.reference)
        with torch.no_grad():
            output = self.reference.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
                max_new_tokens=count,
                do_sample=False,
                pad_token_id=0,
                **options,
            )
        return [row.tolist()[len(prompt) :] for row in output]


STATES_OF_OTHER_BEAMS = ("minimax", "recurrent_gemma", "rwkv")


def forget(model: torch.nn.Module) -> None:
    """Drop what RecurrentGemma's layers keep of the sequence before, whatever cache they are given."""
    for module in model.modules():
        for name in ("conv1d_state", "recurrent_states"):
            if hasattr(module, name):
                setattr(module, name, None)


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest, model_folder: Folders) -> Iterator[Pair]:
    each = Pair(*model_folder(request.param))
    yield each
    each.generator.close()


def test_logits(pair: Pair) -> None:
    for prompt in pair.prompts:
        with torch.no_grad():
            expected = pair.reference(torch.tensor([prompt])).logits[0].numpy()
        np.testing.assert_allclose(pair.generator.logits(token_ids=prompt), expected, atol=1e-4)


def test_greedy_tokens_alone_in_a_batch_and_over_a_cached_prefix(pair: Pair) -> None:
    options: dict[str, Any] = {"max_new_tokens": NUM_TOKENS, "ignore_eos": True}
    expected = [pair.expected(prompt, eos_token_id=None)[0] for prompt in pair.prompts]
    together = pair.generator.generate(token_ids=pair.prompts, **options)
    assert [list(result.token_ids) for result in together] == expected
    for prompt, tokens in zip(pair.prompts, expected, strict=True):
        alone = pair.generator.generate(token_ids=prompt, **options)
        assert list(alone.token_ids) == tokens
        again = pair.generator.generate(token_ids=prompt, **options)
        assert again.token_ids == alone.token_ids
        # Where a state has taken in the tokens after the prompt, too, a snapshot has not.
        assert again.stats.cached_prompt_tokens == len(prompt) - 1
        first_half = [*prompt, *tokens[: NUM_TOKENS // 2]]
        second = pair.generator.generate(
            token_ids=first_half, max_new_tokens=NUM_TOKENS // 2, ignore_eos=True
        )
        assert list(second.token_ids) == tokens[NUM_TOKENS // 2 :]


def test_new_prompts_of_like_lengths_prefill_together(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [np.random.default_rng(n).integers(3, 320, n).tolist() for n in (18, 25, 31)]
    chunks = []
    append = pair.generator._decoder._append_prompts
    monkeypatch.setattr(
        pair.generator._decoder, "_append_prompts", lambda spans: (chunks.append(len(spans)), append(spans))
    )
    results = pair.generator.generate(token_ids=prompts, max_new_tokens=16, ignore_eos=True)
    assert chunks == ([3] if pair.can_truncate else [1, 1, 1])  # padding would get into a state
    for prompt, result in zip(prompts, results, strict=True):
        assert list(result.token_ids) == pair.expected(prompt, 16, eos_token_id=None)[0]


def test_eos_ends_where_transformers_ends(pair: Pair) -> None:
    for prompt in pair.prompts:
        result = pair.generator.generate(token_ids=prompt, max_new_tokens=NUM_TOKENS)
        assert list(result.token_ids) == pair.expected(prompt)[0]


def test_beam_search(pair: Pair) -> None:
    if pair.reference.config.model_type in STATES_OF_OTHER_BEAMS:
        pytest.skip("transformers leaves the states where they were when beams change places")
    for prompt in pair.prompts[:3]:
        check_beams(pair, prompt, num_return_sequences=3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"length_penalty": -0.5, "early_stopping": True},
        {"length_penalty": 2.0, "early_stopping": "never"},
        {"repetition_penalty": 1.3},
        {"repetition_penalty": 1.3, "renormalize_logits": True},
    ],
    ids=str,
)
def test_options_of_beam_search(model_folder: Folders, options: dict[str, Any]) -> None:
    each = Pair(*model_folder("llama"))
    for prompt in each.prompts[:3]:
        check_beams(each, prompt, **options)
    each.generator.close()


def check_beams(pair: Pair, prompt: list[int], **options: Any) -> None:
    """Compare beam search with transformers, which pads what ends early (with the end itself where the pad is 0)."""
    result = pair.generator.generate(token_ids=prompt, max_new_tokens=20, num_beams=4, **options)
    expected = pair.expected(prompt, 20, num_beams=4, **options)
    ours = [choice.token_ids for choice in result.choices] or [result.token_ids]
    for tokens, theirs in zip(ours, expected, strict=True):
        assert list(tokens) == theirs[: len(tokens)]
        assert set(theirs[len(tokens) :]) <= {0, 2}


def test_repetition_penalty(pair: Pair) -> None:
    for prompt in pair.prompts:
        result = pair.generator.generate(token_ids=prompt, max_new_tokens=30, repetition_penalty=1.5)
        assert list(result.token_ids) == pair.expected(prompt, 30, repetition_penalty=1.5)[0]


@pytest.mark.parametrize("family", ["llama", "phi3", "lfm2"])
def test_guidance(model_folder: Folders, family: str) -> None:
    """Transformers computes both prompts whole at every step."""
    each = Pair(*model_folder(family))
    negative = [5, 9, 40]
    for prompt in each.prompts[:3]:
        for options in ({"negative_prompt": negative}, {}):
            theirs = {"negative_prompt_ids": torch.tensor([negative])} if options else {}
            result = each.generator.generate(
                token_ids=prompt, max_new_tokens=12, guidance_scale=1.7, **options
            )
            expected = each.expected(prompt, 12, guidance_scale=1.7, use_cache=False, **theirs)[0]
            assert list(result.token_ids) == expected[: len(result.token_ids)]
    each.generator.close()


def test_log_probabilities_of_a_prompt(pair: Pair) -> None:
    for prompt in pair.prompts:
        with torch.no_grad():
            expected = torch.log_softmax(pair.reference(torch.tensor([prompt])).logits[0].float(), dim=-1)
        result = pair.generator.generate(token_ids=prompt, max_new_tokens=1, prompt_logprobs=0)
        assert result.prompt_logprobs is not None
        ours = [entry.logprob for entry in result.prompt_logprobs[1:] if entry is not None]
        theirs = [float(row[token]) for row, token in zip(expected, prompt[1:], strict=False)]
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"encoder_repetition_penalty": 1.5},
        {"exponential_decay_length_penalty": (4, 1.3)},
        {"begin_suppress_tokens": list(range(150))},
        {"forced_eos_token_id": 2},
        {"sequence_bias": [[[5], 4.0], [[5, 6], 9.0], [[6, 7], -3.0]]},
    ],
    ids=str,
)
def test_options_of_transformers(model_folder: Folders, options: dict[str, Any]) -> None:
    each = Pair(*model_folder("llama"))
    for prompt in each.prompts[:3]:
        result = each.generator.generate(token_ids=prompt, max_new_tokens=20, **options)
        assert list(result.token_ids) == each.expected(prompt, 20, **options)[0]
    each.generator.close()


def test_chunked_prefill_equals_whole(pair: Pair, model_folder: Folders) -> None:
    from genai.engine import Engine

    prompt = pair.prompts[-1]
    whole = pair.generator.generate(token_ids=prompt, max_new_tokens=20, ignore_eos=True)
    fresh = Generator(pair.generator.folder.path, provider="cpu", num_threads=1)
    fresh._engine.engines = (Engine(fresh._decoder, prefill_chunk=7),)
    chunked = fresh.generate(token_ids=prompt, max_new_tokens=20, ignore_eos=True)
    fresh.close()
    assert chunked.stats.cached_prompt_tokens == 0
    assert chunked.token_ids == whole.token_ids
