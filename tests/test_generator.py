"""What a Generator takes, and that its plain and asynchronous calls give the same. Types: `types_of_calls.py`."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genai import GenerationError, Generator, Message, ModelFolder, OptionError

MESSAGES = [Message("user", "The quick brown fox")]


@pytest.fixture(scope="module")
def generator(model_folder: Callable[..., tuple[Path, Path]]) -> Iterator[Generator]:
    with Generator(model_folder("llama")[1], provider="cpu", num_threads=1) as each:
        yield each


@pytest.mark.parametrize(
    "token_ids",
    [(5, 6), np.array([5, 6]), list(np.array([5, 6])), range(5, 7)],
    ids=lambda t: type(t).__name__,
)
def test_token_ids_may_be_any_integers(generator: Generator, token_ids: Any) -> None:
    expected = generator.generate(token_ids=[5, 6], max_new_tokens=3).token_ids
    assert generator.generate(token_ids=token_ids, max_new_tokens=3).token_ids == expected
    (batch,) = generator.generate(token_ids=[token_ids], max_new_tokens=3)
    assert batch.token_ids == expected


@pytest.mark.parametrize(
    "token_ids",
    [[1.5], [True], ["a"], "a", [[1], 2.0], [[1], 2], [1, [2]], 5, np.array(5), np.array([True])],
    ids=repr,
)
def test_token_ids_that_are_none_are_refused(generator: Generator, token_ids: Any) -> None:
    with pytest.raises(OptionError, match=r"token_ids must be (integers|a list of integers)"):
        generator.generate(token_ids=token_ids)


async def test_a_closed_async_stream_has_ended(generator: Generator) -> None:
    stream = generator.astream(token_ids=[5], max_new_tokens=100, ignore_eos=True)
    await anext(stream)
    await stream.aclose()
    assert not generator._engine.has_work


def test_a_list_of_texts_may_be_anything_that_yields_texts(generator: Generator) -> None:
    texts = ("the quick", "brown fox jumps")
    alone = [generator.generate(text, max_new_tokens=3).token_ids for text in texts]
    assert [each.token_ids for each in generator.generate(texts, max_new_tokens=3)] == alone
    assert [each.token_ids for each in generator.generate(iter(texts), max_new_tokens=3)] == alone
    assert generator.generate(()) == []
    assert generator.generate(token_ids=np.zeros((0, 3), np.int64)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "pass either a prompt or token_ids"),
        ({"prompt": "a", "token_ids": [1]}, "pass either a prompt or token_ids"),
        ({"prompt": "a", "messages": MESSAGES}, "pass one of prompt, token_ids and messages"),
        ({"prompt": ["a"]}, "one prompt is expected"),
        ({"token_ids": [[1]]}, "one prompt is expected"),
        ({"prompt": "a", "tools": []}, "pass messages, too"),
        ({"messages": "Hello"}, "messages must be a list of messages"),
        ({"messages": MESSAGES[0]}, "messages must be a list of messages"),
        ({"messages": MESSAGES, "template_options": {"tools": []}}, "template_options must not hold tools"),
        ({"prompt": "a", "temprature": 1.0}, 'Did you mean "temperature"'),
        ({"prompt": "a", "priority": 1.5}, "priority must be an integer, not 1.5"),
        ({"prompt": "a", "priority": True}, "priority must be an integer, not True"),
        ({"prompt": "a", "client": 7}, "client must be a text or None, not 7"),
    ],
    ids=str,
)
def test_a_request_of_wrong_arguments_is_refused(
    generator: Generator, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        generator.build_request(**arguments)


@pytest.mark.parametrize("num_positions", [60, 100, 150, 400])
def test_prompts_that_do_not_fit_together_take_turns(
    model_folder: Callable[..., tuple[Path, Path]], num_positions: int
) -> None:
    folder = model_folder("llama")[1]
    options: dict[str, Any] = {"max_new_tokens": 12, "ignore_eos": True, "do_sample": False}
    with Generator(folder, provider="cpu") as ample:
        prompts = [[3 + place, *range(10, 10 + 6 * place)] for place in range(8)]
        expected = [ample.generate(token_ids=prompt, **options).token_ids for prompt in prompts]
        position_bytes = ample._decoder.cache.shape.bytes_per_position
    with Generator(folder, provider="cpu", kv_cache_bytes=num_positions * position_bytes) as small:
        results = small.generate(token_ids=prompts, **options)
    assert [result.token_ids for result in results] == expected


def test_what_is_no_request_is_refused(generator: Generator) -> None:
    with pytest.raises(OptionError, match="a request of build_request is expected, not 'hi'"):
        generator.submit("hi")  # type: ignore[arg-type]


def test_a_prompt_that_is_no_text_is_refused(generator: Generator) -> None:
    with pytest.raises(OptionError, match="prompt must be a text or a list of texts, not 5"):
        generator.generate(5)  # type: ignore[call-overload]


def test_a_loaded_folder_is_used_as_it_is(model_folder: Callable[..., tuple[Path, Path]]) -> None:
    path = model_folder("llama")[1]
    folder = ModelFolder.load(path)
    with Generator(folder, provider="cpu", num_threads=1) as each, Generator(path, provider="cpu") as other:
        assert each.folder is folder
        assert (
            each.generate("the", max_new_tokens=4).token_ids
            == other.generate("the", max_new_tokens=4).token_ids
        )
    for name in ("revision", "precision", "variant"):
        with pytest.raises(OptionError, match=f"{name} chooses a model folder"):
            Generator(folder, **{name: "fp32"})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["offline", "strict"])
@pytest.mark.parametrize("value", ["yes", "", 1, None])
def test_what_is_no_truth_value_is_refused(
    model_folder: Callable[..., tuple[Path, Path]], name: str, value: Any
) -> None:
    with pytest.raises(OptionError, match=f"{name} must be True or False, not {value!r}"):
        Generator(model_folder("llama")[1], **{name: value})


@pytest.mark.parametrize("value", ["0", True, -1])
def test_what_is_no_device_is_refused(model_folder: Callable[..., tuple[Path, Path]], value: Any) -> None:
    with pytest.raises(OptionError, match="device_id must be an integer >= 0"):
        Generator(model_folder("llama")[1], device_id=value)


def test_submitted_requests_run_together(generator: Generator) -> None:
    expected = generator.chat(MESSAGES, max_new_tokens=12)
    requests = [generator.build_request(messages=MESSAGES, max_new_tokens=n) for n in (12, 5)]
    first, second = map(generator.submit, requests)
    assert "".join(piece.text for piece in first) == expected.text
    assert second.result is not None  # the first one's steps were its, too
    assert second.result.token_ids == expected.token_ids[:5]
    with pytest.raises(OptionError, match="submitted before"):
        generator.submit(requests[0])


def test_a_request_has_the_priority_and_the_client_that_it_was_built_with(generator: Generator) -> None:
    plain = generator.build_request("the", max_new_tokens=4)
    urgent = generator.build_request("the", max_new_tokens=4, priority=-1, client="ada")
    assert (plain.priority, plain.client, urgent.priority, urgent.client) == (0, None, -1, "ada")
    texts = ["".join(piece.text for piece in generator.submit(each)) for each in (plain, urgent)]
    assert texts[0] == texts[1]


def test_a_request_without_pieces_has_a_result(generator: Generator) -> None:
    stream = generator.submit(generator.build_request("the", stream=False, max_new_tokens=4))
    assert list(stream) == []
    assert stream.result is not None
    assert stream.result.text == generator.generate("the", max_new_tokens=4).text


async def test_asynchronous_calls_give_what_the_others_give(generator: Generator) -> None:
    plain = generator.generate("the quick", max_new_tokens=12)
    answer = generator.chat(MESSAGES, template_options={}, max_new_tokens=12)
    assert generator.stream_chat(MESSAGES, max_new_tokens=12).result is None
    assert (await generator.agenerate("the quick", max_new_tokens=12)).token_ids == plain.token_ids
    assert (await generator.achat(MESSAGES, template_options={}, max_new_tokens=12)).text == answer.text
    for stream, expected in (
        (generator.astream("the quick", max_new_tokens=12), plain),
        (generator.astream_chat(MESSAGES, max_new_tokens=12), answer),
        (generator.asubmit(generator.build_request("the quick", max_new_tokens=12)), plain),
    ):
        assert "".join([piece.text async for piece in stream]) == expected.text
        assert stream.result is not None
        assert stream.result.token_ids == expected.token_ids
        assert [piece async for piece in stream] == []


async def test_asynchronous_calls_raise_errors_of_arguments_at_once(generator: Generator) -> None:
    too_long = [5] * (generator.context_length + 1)
    with pytest.raises(OptionError, match="temperature"):
        generator.astream("the", temprature=1.0)  # type: ignore[call-arg]
    with pytest.raises(OptionError, match="messages must be a list"):
        generator.astream_chat("the")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=str(len(too_long))):
        generator.astream(token_ids=too_long)
    for call in (generator.agenerate(token_ids=too_long), generator.achat([{"role": "user"}], top_p=7)):
        with pytest.raises(OptionError):
            await call
    async with asyncio.timeout(10):  # what earlier tests ran is retired by the background thread
        while generator._engine.has_work:
            await asyncio.sleep(0.01)


async def test_whoever_drops_or_leaves_an_async_stream_cancels_it(generator: Generator) -> None:
    endless: dict[str, Any] = {"max_new_tokens": None, "ignore_eos": True}
    request = generator.build_request(token_ids=[5], **endless)
    stream = generator.asubmit(request)
    await anext(stream)
    del stream
    gc.collect()
    assert request.is_cancelled
    waiting = generator.build_request(token_ids=[6], stream=False, **endless)
    task = asyncio.ensure_future(anext(generator.asubmit(waiting)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waiting.is_cancelled


def test_a_long_conversation_loses_its_oldest_turns_if_that_is_asked_for() -> None:
    messages = [Message("system", "Be brief.")]
    for index in range(40):
        messages += [
            Message("user", f"What is token {index}?"),
            Message("assistant", "A piece of text. " * 3),
        ]
    messages.append(Message("user", "What is a KV cache?"))
    with Generator("demo", max_context=256) as demo:
        with pytest.raises(OptionError, match="the context holds 256"):
            demo.chat(messages, max_new_tokens=8)
        reply = demo.chat(messages, max_new_tokens=8, context_policy="truncate_turns")
        text = demo.tokenizer.decode(reply.prompt_token_ids, skip_special_tokens=False)
        assert len(reply.prompt_token_ids) <= 248
        assert "Be brief." in text
        assert "What is a KV cache?" in text
        assert "token 0?" not in text
        assert "token 39?" in text
        short = demo.chat(messages[-1:], max_new_tokens=8, context_policy="truncate_turns")
        assert short.token_ids == demo.chat(messages[-1:], max_new_tokens=8).token_ids
        for generate in (demo.stream, demo.generate):
            with pytest.raises(OptionError, match="context_policy"):
                generate("Hello", context_policy="truncate_turns")


def test_an_answer_goes_on_from_its_beginning(generator: Generator) -> None:
    messages = [*MESSAGES, Message("assistant", "jumps over ")]
    begun = generator.build_request(messages=messages, continue_final_message=True)
    text = generator.tokenizer.apply_chat_template(
        messages, continue_final_message=True, add_generation_prompt=False
    )
    assert list(begun.prompt_token_ids) == generator.tokenizer.encode(text, add_special_tokens=False)
    assert text.rstrip().endswith("jumps over")
    answer = generator.chat(messages, continue_final_message=True, max_new_tokens=4)
    assert answer.prompt_token_ids == begun.prompt_token_ids
    with pytest.raises(OptionError, match="continue_final_message are for a conversation"):
        generator.build_request("text", continue_final_message=True)


def test_a_form_is_read_behind_an_echoed_prompt(generator: Generator) -> None:
    result = generator.generate("Say: ", response_format=["yes", "no"], echo=True)
    assert result.text == f"Say: {result.parsed}"
    assert result.parsed in {"yes", "no"}


def test_options_about_prompts_are_not_for_conversations(generator: Generator) -> None:
    with pytest.raises(OptionError, match="echo is for plain prompts"):
        generator.chat([{"role": "user", "content": "a"}], echo=True)


def test_values_of_wrong_types_are_refused_by_name(generator: Generator) -> None:
    wrong: list[tuple[str, Callable[[], object]]] = [
        ("config must be a GenerationConfig", lambda: generator.generate("a", config={"top_k": 1})),  # type: ignore[call-overload]
        (
            "template_options must be",
            lambda: generator.count_tokens(messages=[Message("user", "a")], template_options=5),
        ),  # type: ignore[arg-type]
        ("named by a text or a path", lambda: Generator(None)),  # type: ignore[arg-type]
    ]
    for message, call in wrong:
        with pytest.raises(OptionError, match=message):
            call()


def test_a_generator_says_what_it_is(generator: Generator) -> None:
    assert repr(generator) == f"Generator({str(generator.folder.path)!r}, provider='cpu')"


def test_a_prompt_that_fails_leaves_the_others_their_results(generator: Generator) -> None:
    def fails(token_ids: Any) -> bool:
        if token_ids[0] == 6:
            raise ValueError("no sixes")
        return False

    options: Any = {"max_new_tokens": 3, "stopping_criteria": [fails]}
    with pytest.raises(GenerationError, match="no sixes") as caught:
        generator.generate(token_ids=[[5, 7], [6, 7], [7, 7]], **options)
    first, none, last = caught.value.results
    assert none is None
    assert first.token_ids == generator.generate(token_ids=[5, 7], **options).token_ids
    assert last.token_ids == generator.generate(token_ids=[7, 7], **options).token_ids
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(GenerationError, match="no sixes") as caught:
        generator.generate(token_ids=[6, 7], **options)
    assert caught.value.results == ()


def test_an_answer_that_its_type_refuses_leaves_the_others_their_results(generator: Generator) -> None:
    refused = []

    @dataclasses.dataclass
    class Picky:
        is_so: bool

        def __post_init__(self) -> None:
            if not refused:
                refused.append(self)
                raise ValueError("not this one")

    with pytest.raises(GenerationError, match="not this one") as caught:
        generator.generate(["the quick", "brown fox"], response_format=Picky)
    none, second = caught.value.results
    assert none is None
    assert isinstance(second.parsed, Picky)
