"""Measure what a response_format costs a token: computing its mask, and applying it to the logits.

    python scripts/measure_constraints.py MODEL_FOLDER [MODEL_FOLDER ...]
    python scripts/measure_constraints.py --padded 151936 MODEL_FOLDER

Random logits walk through a few forms with a model's tokenizer, twice, so that the second walk finds what the first has
made. Per form, in µs of the second walk: the median and the 95th percentile of mask and application together, the median of
accepting a token; then how many tokens were forced, and what compiling took, in ms. No model runs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from genai.config import ResponseFormat
from genai.structured import Grammar, GrammarCompiler
from genai.text import Tokenizer

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 80},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "languages": {"type": "array", "items": {"enum": ["English", "French", "German"]}, "maxItems": 5},
        "address": {
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            "required": ["street", "city"],
        },
    },
    "required": ["name", "age", "languages", "address"],
}
FORMS: dict[str, Any] = {
    "schema": PERSON,
    "any JSON object": "json",
    "regex": {"type": "regex", "regex": r"[A-Z][a-z]+( [a-z]+)*\."},
    "counting regex": {"type": "regex", "regex": r"(\w+ ){20,200}\."},
    "choices": [f"category {i}" for i in range(500)],
    "grammar": {
        "type": "grammar",
        "grammar": 'start: expr\nexpr: term (("+"|"-") term)*\nterm: NUM | "(" expr ")"\nNUM: /[0-9]+/\n',
    },
}
MAX_TOKENS = 300


def main() -> None:
    """Print a table for each model's tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument(
        "--padded", type=int, default=0, help="number of logits, where they are more than tokens"
    )
    arguments = parser.parse_args()
    for folder in arguments.folders:
        tokenizer = Tokenizer.from_folder(folder)
        num_logits = max(arguments.padded, tokenizer.vocab_size)
        end = tokenizer.eos_token_id or 0
        compiler = GrammarCompiler(tokenizer.backend, [end])
        start = time.perf_counter()
        compiler.compile(ResponseFormat.choices(["a"]))
        print(f"{folder}: {num_logits} logits; the vocabulary took {time.perf_counter() - start:.2f} s, once")
        print(f"{'form':>16} {'mask':>6} {'p95':>6} {'accept':>6} {'forced':>10} {'compile':>8}")
        for name, value in FORMS.items():
            form = ResponseFormat.of(value)
            assert form is not None
            start = time.perf_counter()
            grammar = compiler.compile(form)
            compiled = time.perf_counter() - start
            walk(grammar, end, num_logits)
            masks, accepts, forced = walk(grammar, end, num_logits)
            print(
                f"{name:>16} {np.median(masks) * 1e6:6.0f} {np.percentile(masks, 95) * 1e6:6.0f} "
                f"{np.median(accepts) * 1e6:6.0f} {forced:3} of {len(accepts):3} {compiled * 1e3:8.1f}"
            )


def walk(grammar: Grammar, end: int, num_logits: int) -> tuple[list[float], list[float], int]:
    """Return the seconds that masks took, those that accepting took, and how many tokens were forced."""
    constraint, random = grammar.constraint([end]), np.random.default_rng(0)
    masks, accepts, num_forced = [], [], 0
    rows = random.normal(size=(16, num_logits)).astype(np.float32)
    token_id = None
    while token_id != end and len(accepts) < MAX_TOKENS:
        num_forced += constraint.forced_token() is not None
        logits = rows[len(accepts) % len(rows)].copy()
        start = time.perf_counter()
        constraint.apply(logits)
        masks.append(time.perf_counter() - start)
        token_id = int(logits.argmax())
        start = time.perf_counter()
        constraint.accept(token_id)
        accepts.append(time.perf_counter() - start)
    return masks, accepts, num_forced


if __name__ == "__main__":
    main()
