"""Runs that the tests of foreign folders compare with: onnxruntime-genai's own, and genai's alone and in a batch."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from genai import Generator

PROMPT_LENGTHS = (5, 17, 1, 9)
NUM_NEW = 40


def make_prompts(vocab_size: int, lengths: Sequence[int] = PROMPT_LENGTHS) -> list[list[int]]:
    random = np.random.default_rng(0)
    return [random.integers(3, vocab_size, length).tolist() for length in lengths]


def build_with_onnxruntime_genai(checkpoint: Path, folder: Path, precision: str, *options: str) -> Path:
    """Make a model folder with onnxruntime-genai's own builder; options are its `--extra_options`."""
    from onnxruntime_genai.models import builder

    arguments = (
        str(checkpoint),
        str(checkpoint),
        str(folder),
        precision,
        "cpu",
        str(folder.parent / "cache"),
    )
    with _quietly():
        builder.create_model(*arguments, **builder.parse_extra_options(*arguments, list(options)))
    return folder


def greedy_by_onnxruntime_genai(folder: Path, prompt: Sequence[int], num_new: int = NUM_NEW) -> list[int]:
    """Return what onnxruntime-genai generates, past any end of text."""
    import onnxruntime_genai

    model = onnxruntime_genai.Model(str(folder))
    parameters = onnxruntime_genai.GeneratorParams(model)
    length = len(prompt) + num_new
    parameters.set_search_options(do_sample=False, min_length=length, max_length=length)
    generator = onnxruntime_genai.Generator(model, parameters)
    generator.append_tokens(np.array(prompt, np.int32))
    found: list[int] = []
    while not generator.is_done() and len(found) < num_new:
        generator.generate_next_token()
        found.append(int(generator.get_next_tokens()[0]))
    return found


def greedy_by_genai(
    folder: Path,
    prompts: Sequence[Sequence[int]],
    num_new: int = NUM_NEW,
    *,
    is_rounded: bool = False,
    **options: str,
) -> list[list[int]]:
    """Return what genai generates past any end of text, after seeing that a batch gives what each prompt does alone.

    Where products round activations to 8 bits, some processors' kernels of one row round otherwise than those of several:
    then what prompts give alone is returned, as their makers run them.
    """
    with Generator(folder, provider="cpu", num_threads=1, **options) as generator:
        ends = list(generator.folder.eos_token_ids)
        limits = {"max_new_tokens": num_new, "do_sample": False, "suppress_tokens": ends, "ignore_eos": True}
        alone = [generator.generate(token_ids=list(prompt), **limits) for prompt in prompts]
        together = generator.generate(token_ids=[list(prompt) for prompt in prompts], **limits)
    tokens = [list(result.token_ids) for result in alone]
    assert is_rounded or tokens == [list(result.token_ids) for result in together]
    return tokens


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep a foreign tool's notes and warnings out of the tests' output."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
