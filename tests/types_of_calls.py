"""Calls of a Generator with the types that an editor should see; checked by mypy, never run.

A line that must be red says so with an `ignore`, which mypy refuses where nothing is wrong.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import assert_type

import numpy as np
import numpy.typing as npt

from genai import (
    AsyncChatStream,
    AsyncGenerationStream,
    ChatStream,
    GenerationConfig,
    GenerationOptions,
    GenerationResult,
    GenerationStream,
    Generator,
    Message,
    ModelFolder,
    Piece,
    Request,
    ResponseFormat,
    ToolCall,
    ToolCallDelta,
)


def generate(generator: Generator, texts: tuple[str, ...], array: npt.NDArray[np.int64]) -> None:
    assert_type(generator.generate("Hello"), GenerationResult)
    assert_type(generator.generate(prompt="Hello", temperature=0.5, stop="."), GenerationResult)
    assert_type(generator.generate(["a", "b"], stop=[".", "!"]), list[GenerationResult])
    assert_type(generator.generate(texts, max_new_tokens=None), list[GenerationResult])
    assert_type(generator.generate(token_ids=[1, 2]), GenerationResult)
    assert_type(generator.generate(token_ids=(1, 2)), GenerationResult)
    assert_type(generator.generate(token_ids=range(3)), GenerationResult)
    assert_type(generator.generate(token_ids=[[1], [2, 3]]), list[GenerationResult])
    assert_type(generator.generate(token_ids=[array, array]), list[GenerationResult])
    assert_type(generator.generate(token_ids=array), GenerationResult | list[GenerationResult])
    assert_type(generator.generate("Hello", config=GenerationConfig()), GenerationResult)

    for form in ({"type": "object"}, "json", ["yes", "no"], Piece, ResponseFormat.regex("[0-9]+"), None):
        assert_type(generator.generate("Hello", response_format=form), GenerationResult)

    generator.generate("Hello", response_format=3)  # type: ignore[call-overload]
    generator.generate("Hello", temprature=0.5)  # type: ignore[call-overload]
    generator.generate("Hello", temperature="hot")  # type: ignore[call-overload]
    generator.generate("Hello", token_ids=[1])  # type: ignore[call-overload]
    generator.generate(token_ids=["a"])  # type: ignore[list-item]
    generator.generate()  # type: ignore[call-overload]


def stream(generator: Generator) -> None:
    assert_type(generator.stream("Hello", seed=1), GenerationStream)
    assert_type(next(generator.stream(token_ids=[1])), Piece)
    assert_type(generator.stream("Hello").result, GenerationResult | None)
    pieces: Iterator[Piece] = iter(generator.stream("Hello"))
    del pieces

    generator.stream(["Hello"])  # type: ignore[arg-type]
    generator.stream("Hello", top_q=1)  # type: ignore[call-arg]


def chat(generator: Generator, texts: list[dict[str, str]], messages: list[Message]) -> None:
    assert_type(generator.chat(messages, tools=[{"type": "function"}], top_k=4), GenerationResult)
    assert_type(generator.chat(texts, template_options={"enable_thinking": False}), GenerationResult)
    assert_type(generator.chat([Message("user", "Hi"), {"role": "user", "content": "Hi"}]), GenerationResult)
    assert_type(generator.stream_chat(messages, config=GenerationConfig(), seed=1), GenerationStream)

    assert_type(
        generator.chat(messages, tools=[len], tool_choice="required", auto_call=True), GenerationResult
    )
    assert_type(generator.chat(messages).tool_calls, tuple[ToolCall, ...])
    assert_type(next(generator.stream_chat(messages)).tool_calls, tuple[ToolCallDelta, ...])
    assert_type(generator.chat(messages).message, Message)
    assert_type(generator.rerank("a", ["b"])[0].score, float)

    generator.chat(messages, tool_choice=5)  # type: ignore[arg-type]
    assert_type(generator.stream_chat(messages, tools=[len], auto_call=True, max_rounds=2), ChatStream)
    generator.stream_chat(messages, max_rounds=2)  # type: ignore[call-overload]
    generator.chat("Hello")  # type: ignore[arg-type]
    generator.chat(["Hello"])  # type: ignore[list-item]
    generator.stream_chat(messages, temprature=0.5)  # type: ignore[call-overload]


async def asynchronous(generator: Generator, messages: list[Message]) -> None:
    assert_type(await generator.agenerate("Hello", top_p=0.9), GenerationResult)
    assert_type(await generator.achat(messages, tools=None, top_p=0.9), GenerationResult)
    assert_type(generator.astream(token_ids=[1]), AsyncGenerationStream)
    assert_type(generator.astream_chat(messages), AsyncGenerationStream)
    assert_type(generator.astream_chat(messages, tools=[len], auto_call=True), AsyncChatStream)
    assert_type(await anext(generator.astream("Hello")), Piece)
    pieces: AsyncIterator[Piece] = generator.astream("Hello")
    del pieces

    await generator.achat(messages, temprature=0.5)  # type: ignore[call-arg]


def server(generator: Generator, folder: ModelFolder, options: GenerationOptions) -> None:
    request = generator.build_request(messages=[Message("user", "Hi")], stream=False, **options)
    assert_type(request, Request)
    assert_type(generator.submit(request), GenerationStream)
    assert_type(generator.asubmit(request), AsyncGenerationStream)
    assert_type(GenerationConfig().merge(**options), GenerationConfig)
    assert_type(generator.logits("Hello"), npt.NDArray[np.float32])
    Generator(folder)
    Generator(Path("model"))

    generator.build_request("Hello", seeds=[1])  # type: ignore[call-arg]
