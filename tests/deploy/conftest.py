"""What every way to deploy the demo model has to answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

import genai
from genai import Generator, Message

QUESTIONS = ("What is a KV cache?", "How do I export a model?")
EXAMPLES = Path(__file__).parents[2] / "examples" / "deploy"


@dataclass(frozen=True, slots=True)
class Answer:
    """What genai answers a question, greedily: the text, and the tokens before the one that ends it."""

    question: str
    prompt_ids: tuple[int, ...]
    text: str
    token_ids: tuple[int, ...]


@pytest.fixture(scope="session")
def demo_folder() -> Path:
    return Path(genai.__file__).parent / "demo_model"


@pytest.fixture(scope="session")
def answers() -> list[Answer]:
    found = []
    with Generator("demo", offline=True) as generator:
        for question in QUESTIONS:
            messages = [Message("user", question)]
            result = generator.chat(messages, max_new_tokens=128, do_sample=False)
            assert result.finish_reason == "stop"
            prompt_ids = generator.tokenizer.encode_chat(messages)
            found.append(Answer(question, tuple(prompt_ids), result.text, result.token_ids[:-1]))
    return found
