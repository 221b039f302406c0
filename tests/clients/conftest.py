"""A server over the demo model that clients of others connect to, and what they have to get from it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from genai import Generator
from genai.server import ServedModels, ServerSettings, make_app
from tests.server.conftest import Running, demo, running

QUESTION = "What is a KV cache?"
WEATHER: dict[str, Any] = {
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Bern", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="package")
def server() -> Iterator[Running]:
    """The demo model, by the name that the documentation uses."""
    with running(make_app(ServedModels({"phi": demo}), ServerSettings())) as server:
        yield server


@pytest.fixture(scope="package")
def answer() -> str:
    """What the demo model answers the question, greedily, up to the end."""
    with Generator("demo") as generator:
        result = generator.chat([{"role": "user", "content": QUESTION}], max_new_tokens=128, do_sample=False)
    assert result.finish_reason == "stop"
    return result.text


@pytest.fixture
def environment() -> dict[str, str]:
    """What a client's program runs with: nothing that leads it elsewhere."""
    return {**os.environ, "NO_PROXY": "127.0.0.1", "OPENAI_API_KEY": "none", "HF_HUB_OFFLINE": "1"}
