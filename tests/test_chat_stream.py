"""Streams of conversations in which functions are called, over a model that says what the test wants."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from genai import AsyncChatStream, ChatStream, Generator, Message, OptionError, Piece
from tests.scripted import ScriptedModel, make_scripted

Make = Callable[..., tuple[Generator, ScriptedModel]]
ASK = [Message("user", "Go on.")]
CALL = '<tool_call>{"name": "act", "arguments": {"number": 1}}</tool_call>'
AGAIN = CALL.replace("1", "2")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(answers: Sequence[str], **options: Any) -> tuple[Generator, ScriptedModel]:
        return make_scripted(tmp_path, monkeypatch, answers, **options)

    return make


class Acts:
    """A function that a model calls, and what happens meanwhile."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.numbers: list[int] = []
        self.threads: set[threading.Thread] = set()
        self.meanwhile = meanwhile

    @property
    def tools(self) -> list[Any]:
        def act(number: int) -> str:
            """Act."""
            self.numbers.append(number)
            self.threads.add(threading.current_thread())
            self.meanwhile()
            return f"done {number}"

        return [act]


def read_async(generator: Generator, **options: Any) -> tuple[list[Piece], AsyncChatStream]:
    async def read() -> tuple[list[Piece], AsyncChatStream]:
        stream = generator.astream_chat(ASK, auto_call=True, **options)
        return [piece async for piece in stream], stream

    return asyncio.run(read())


def read(generator: Generator, **options: Any) -> tuple[list[Piece], ChatStream]:
    stream = generator.stream_chat(ASK, auto_call=True, **options)
    return list(stream), stream


Read = Callable[..., tuple[list[Piece], Any]]
both = pytest.mark.parametrize("read", [read, read_async])


@both
def test_a_stream_goes_on_after_calls_as_chat_does(make: Make, read: Read) -> None:
    answers = [f"First. {CALL}", f"Second. {AGAIN}", "Both are done."]
    acts = Acts()
    generator, model = make(answers * 2)
    with generator:
        pieces, stream = read(generator, tools=acts.tools)
        prompts = list(model.prompts)
        whole = generator.chat([*ASK, Message("user", "Again.")], tools=acts.tools, auto_call=True)
    assert "".join(piece.text for piece in pieces) == "First.Second.Both are done."
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == ["stop"] * 3
    names = [delta.name for piece in pieces for delta in piece.tool_calls if delta.name]
    assert names == ["act", "act"]
    assert pieces[0].text == "F"
    assert acts.numbers == [1, 2, 1, 2]
    assert [each.content for each in stream.result.messages] == [each.content for each in whole.messages]
    assert stream.result.text == whole.text == "Both are done."
    assert "done 1" in prompts[1]
    assert "done 2" in prompts[2]


@both
def test_functions_run_between_answers_and_off_the_event_loop(make: Make, read: Read) -> None:
    generator, model = make([f"{CALL}{AGAIN}", "Done."])
    told: list[int] = []
    acts = Acts(lambda: told.append(len(model.prompts)))
    with generator:
        read(generator, tools=acts.tools)
    assert told == [1, 1]
    assert (threading.main_thread() in acts.threads) == (read is not read_async)


@both
def test_rounds_of_a_stream_end(make: Make, read: Read) -> None:
    generator, model = make([CALL, AGAIN, CALL])
    acts = Acts()
    with generator:
        _, stream = read(generator, tools=acts.tools, max_rounds=1)
    assert acts.numbers == [1]
    assert len(model.prompts) == 2
    assert [call.arguments for call in stream.result.tool_calls] == [{"number": 2}]
    assert [each.role for each in stream.result.messages] == ["assistant", "tool", "assistant"]


def test_an_event_loop_goes_on_while_a_function_blocks(make: Make) -> None:
    may_end = threading.Event()
    generator, _ = make([CALL, "Done."])

    async def answer() -> str:
        stream = generator.astream_chat(ASK, tools=Acts(lambda: may_end.wait(30)).tools, auto_call=True)
        asyncio.get_running_loop().call_later(0.1, may_end.set)  # it comes only if the loop runs
        return "".join([piece.text async for piece in stream])

    with generator:
        assert asyncio.run(answer()) == "Done."


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_a_stream_that_is_ended_in_an_answer(make: Make, end: str) -> None:
    generator, _ = make([CALL, "A long answer."])
    stream = generator.stream_chat(ASK, tools=Acts().tools, auto_call=True)
    begun = next(piece.text for piece in stream if piece.text)
    assert stream.result is None
    getattr(stream, end)()
    text = begun + "".join(piece.text for piece in stream)
    assert stream.result is not None
    assert stream.result.finish_reason == "cancelled"
    assert "A long answer.".startswith(text)
    assert [each.role for each in stream.result.messages] == ["assistant", "tool", "assistant"]
    assert stream.result.messages[-1].content == text


@both
def test_no_call_and_no_answer_begin_when_the_model_is_closed(make: Make, read: Read) -> None:
    generator, model = make([f"{CALL}{AGAIN}", "Never."])
    acts = Acts(lambda: generator.close())
    _, stream = read(generator, tools=acts.tools)
    assert acts.numbers == [1]
    assert len(model.prompts) == 1
    assert stream.result.finish_reason == "cancelled"
    assert [each.role for each in stream.result.messages] == ["assistant", "tool"]


@both
def test_no_call_and_no_answer_begin_when_the_time_is_over(make: Make, read: Read) -> None:
    generator, model = make([f"{CALL}{AGAIN}", "Never."])
    acts = Acts(lambda: time.sleep(3))
    with generator:
        _, stream = read(generator, tools=acts.tools, max_time=3)
    assert acts.numbers == [1]
    assert len(model.prompts) == 1
    assert stream.result.finish_reason == "length"


def test_what_ends_a_stream_while_a_function_runs(make: Make) -> None:
    generator, model = make([CALL, "Never."])
    streams: list[ChatStream] = []
    stream = generator.stream_chat(ASK, tools=Acts(lambda: streams[0].cancel()).tools, auto_call=True)
    streams.append(stream)
    list(stream)
    list(stream)
    assert len(model.prompts) == 1
    assert stream.result is not None
    assert stream.result.finish_reason == "cancelled"
    assert [each.role for each in stream.result.messages] == ["assistant", "tool"]


def test_whoever_is_cancelled_while_a_function_runs(make: Make) -> None:
    """Neither another call nor another answer comes; what waits is free at once."""
    generator, model = make([f"{CALL}{AGAIN}", "Never."])
    has_begun, may_end = threading.Event(), threading.Event()
    acts = Acts(lambda: (has_begun.set(), may_end.wait(30)))

    async def answer() -> AsyncChatStream:
        stream = generator.astream_chat(ASK, tools=acts.tools, auto_call=True)

        async def read() -> None:
            async for _ in stream:
                pass

        task = asyncio.create_task(read())
        await asyncio.to_thread(has_begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await stream.aclose()
        may_end.set()
        return stream

    with generator:
        stream = asyncio.run(answer())  # waits for its threads
    assert acts.numbers == [1]
    assert len(model.prompts) == 1
    assert stream.result is not None
    assert stream.result.finish_reason == "cancelled"


def test_a_round_that_does_not_fit_raises(make: Make) -> None:
    generator, _ = make([CALL, "Never."])

    def act(number: int) -> str:
        """Act."""
        return "word " * 3000 * number

    stream = generator.stream_chat(ASK, tools=[act], auto_call=True)
    with pytest.raises(OptionError, match="context"):
        list(stream)
    assert list(stream) == []
