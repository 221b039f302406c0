"""`genai batch`: every request has one result, also after a kill in the middle of a line."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genai import Generator
from genai.batch import BatchLine, ResultFile, read_batch, run_batch
from genai.cli.app import run_app
from genai.errors import OptionError

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def request_line(custom_id: str, url: str = CHAT, **body: Any) -> str:
    if url == CHAT:
        body = {"messages": [{"role": "user", "content": f"What is token {custom_id}?"}], **body}
    return json.dumps(
        {"custom_id": custom_id, "method": "POST", "url": url, "body": {"max_tokens": 4, **body}}
    )


def results_of(path: Path) -> dict[str, Any]:
    results = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len({result["custom_id"] for result in results}) == len(results)
    return {result["custom_id"]: result["response"] for result in results}


@pytest.fixture(scope="module")
def generator() -> Iterator[Generator]:
    with Generator("demo") as generator:
        yield generator


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    lines = [request_line(str(index)) for index in range(5)]
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(generator: Generator, requests: Path, output: Path) -> None:
    with ResultFile(output) as results:
        left = (line for line in read_batch(requests) if line.custom_id not in results.custom_ids)
        asyncio.run(run_batch(generator, left, results, model="demo"))


def test_responses(generator: Generator, tmp_path: Path) -> None:
    requests, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    bodies = {"right": {"input": "Hello", "max_output_tokens": 4}, "wrong": {"input": "Hello", "store": True}}
    lines = [{"custom_id": name, "url": "/v1/responses", "body": body} for name, body in bodies.items()]
    requests.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    run(generator, requests, output)
    results = results_of(output)
    expected = generator.chat([{"role": "user", "content": "Hello"}], max_new_tokens=4)
    (message,) = results["right"]["body"]["output"]
    assert message["content"][0]["text"] == expected.text
    assert results["wrong"]["status_code"] == 400
    assert results["wrong"]["body"]["error"]["param"] == "store"


def test_results_are_what_the_generator_says(generator: Generator, requests: Path, tmp_path: Path) -> None:
    lines = [
        request_line("scored", logprobs=True, top_logprobs=2, temperature=0),
        request_line("texts", TEXT, prompt=["Hello", "Bye"], logprobs=1),
        request_line("wrong", temprature=1),
        request_line("impossible", temperature=-1),
        request_line("streamed", stream=True),
    ]
    requests.write_text("\n".join(lines), encoding="utf-8")
    run(generator, requests, tmp_path / "out.jsonl")
    found = results_of(tmp_path / "out.jsonl")

    scored = found["scored"]["body"]
    (choice,) = scored["choices"]
    messages = json.loads(lines[0])["body"]["messages"]
    expected = generator.chat(messages, max_new_tokens=4, top_logprobs=2, temperature=0)
    assert choice["message"] == {"role": "assistant", "content": expected.text, "refusal": None}
    assert choice["finish_reason"] == expected.finish_reason
    assert expected.logprobs is not None
    entries = choice["logprobs"]["content"]
    assert [entry["logprob"] for entry in entries] == pytest.approx(
        [e.logprob for e in expected.logprobs], abs=1e-4
    )
    assert all(len(entry["top_logprobs"]) == 2 for entry in entries)
    assert scored["usage"]["completion_tokens"] == len(expected.token_ids)

    texts = found["texts"]["body"]["choices"]
    assert [each["text"] for each in texts] == [
        generator.generate(prompt, max_new_tokens=4, do_sample=False).text for prompt in ("Hello", "Bye")
    ]
    assert texts[0]["logprobs"]["text_offset"][0] == 0
    for name, field in (("wrong", "temprature"), ("impossible", "temperature"), ("streamed", "stream")):
        assert found[name]["status_code"] == 400
        assert field in found[name]["body"]["error"]["message"]


def test_calls_of_tools_are_results(generator: Generator, requests: Path, tmp_path: Path) -> None:
    parameters = {"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]}
    tools = [{"type": "function", "function": {"name": "answer", "parameters": parameters}}]
    named = {"type": "function", "function": {"name": "answer"}}
    lines = [
        request_line("call", tools=tools, tool_choice=named, max_tokens=400),
        request_line("none", tools=tools, tool_choice="none"),
        request_line("strange", tools=tools, tool_choice="question"),
    ]
    requests.write_text("\n".join(lines), encoding="utf-8")
    run(generator, requests, tmp_path / "out.jsonl")
    found = results_of(tmp_path / "out.jsonl")
    (choice,) = found["call"]["body"]["choices"]
    assert choice["finish_reason"] == "tool_calls"
    for call in choice["message"]["tool_calls"]:
        assert call["function"]["name"] == "answer"
        assert json.loads(call["function"]["arguments"])["sure"] in (True, False)
    assert "tool_calls" not in found["none"]["body"]["choices"][0]["message"]
    assert found["strange"]["status_code"] == 400
    assert "tool_choice" in found["strange"]["body"]["error"]["message"]


def test_a_killed_run_is_gone_on_with(generator: Generator, requests: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    run(generator, requests, output)
    whole = output.read_bytes()
    for end in (0, 1, whole.index(b"\n"), whole.index(b"\n") + 1, len(whole) - 1, len(whole)):
        output.write_bytes(whole[:end])
        run(generator, requests, output)
        assert results_of(output).keys() == {"0", "1", "2", "3", "4"}


def test_an_interrupted_run_loses_nothing(
    generator: Generator, requests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.jsonl"

    def interrupt() -> None:
        raise KeyboardInterrupt

    with ResultFile(output) as results, pytest.raises(KeyboardInterrupt):
        asyncio.run(run_batch(generator, read_batch(requests), results, model="demo", advance=interrupt))
    assert 1 <= len(results_of(output)) < 5
    run(generator, requests, output)
    assert len(results_of(output)) == 5


def odd_lines() -> list[str]:
    """Requests that no check of a body's shape finds odd, each with its name."""
    asked = [
        {"role": "user", "content": "Call it."},
        {"role": "assistant", "tool_calls": 5},
        {"role": "tool", "content": "1"},
    ]
    called = [asked[0], {"role": "assistant", "tool_calls": [5]}]
    return [
        request_line("calls that are a number", messages=asked),
        request_line("a call that is a number", messages=called),
        request_line("a number of 400 digits", temperature=10**400),
        request_line("half a character \ud800", messages=asked[:1]),
        request_line("a field of half a character", **{"\ud800": 1}),
        request_line("a message without role", messages=[{"content": "Hello"}]),
    ]


def test_an_odd_request_has_a_result_and_ends_no_other(
    generator: Generator, requests: Path, tmp_path: Path
) -> None:
    lines = odd_lines()
    requests.write_text("\n".join([*lines, request_line("plain")]), encoding="utf-8")
    run(generator, requests, tmp_path / "out.jsonl")
    found = results_of(tmp_path / "out.jsonl")
    assert len(found) == len(lines) + 1
    assert found.pop("plain")["status_code"] == 200
    assert found.pop("half a character \ud800")["status_code"] == 200
    assert {name: each["status_code"] for name, each in found.items()} == dict.fromkeys(found, 400)
    run(generator, requests, tmp_path / "out.jsonl")
    assert len(results_of(tmp_path / "out.jsonl")) == len(lines) + 1


def test_an_error_in_genai_is_the_result_of_its_request_alone(
    generator: Generator, requests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = generator.build_request

    def fail_once(*args: Any, **options: Any) -> Any:
        if "token 2" in str(options):
            raise ZeroDivisionError("by two")
        return build(*args, **options)

    monkeypatch.setattr(generator, "build_request", fail_once)
    run(generator, requests, tmp_path / "out.jsonl")
    found = results_of(tmp_path / "out.jsonl")
    failed = found.pop("2")
    assert failed["status_code"] == 500
    assert failed["body"]["error"]["type"] == "server_error"
    assert "ZeroDivisionError: by two" in failed["body"]["error"]["message"]
    assert {each["status_code"] for each in found.values()} == {200}


def test_a_folder_without_tokenizer_refuses_what_needs_one(
    generator: Generator, requests: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(generator.folder.path, folder, ignore=shutil.ignore_patterns("tokenizer*", "manifest*"))
    lines = [
        request_line("scored", TEXT, prompt=[5, 6], logprobs=1),
        request_line("plain", TEXT, prompt=[5, 6], ignore_eos=True),
    ]
    requests.write_text("\n".join(lines), encoding="utf-8")
    with Generator(folder) as without:
        run(without, requests, tmp_path / "out.jsonl")
    found = results_of(tmp_path / "out.jsonl")
    assert found["plain"]["status_code"] == 200
    assert "tokenizer" in found["scored"]["body"]["error"]["message"]


@pytest.mark.parametrize("num_slots", [1, 2])
def test_as_many_wait_as_keep_the_slots_busy(
    generator: Generator, requests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_slots: int
) -> None:
    requests.write_text("\n".join(request_line(str(index)) for index in range(20)), encoding="utf-8")
    waiting: set[str] = set()
    most = 0

    async def result_of(_generator: Generator, line: BatchLine, _model: str) -> dict[str, Any]:
        nonlocal most
        waiting.add(line.custom_id)
        most = max(most, len(waiting))
        await asyncio.sleep(0)
        waiting.remove(line.custom_id)
        return {"custom_id": line.custom_id, "response": {}}

    monkeypatch.setattr("genai.batch.run.result_of", result_of)
    with ResultFile(tmp_path / "out.jsonl") as results:
        running = run_batch(generator, read_batch(requests), results, model="demo", num_slots=num_slots)
        asyncio.run(running)
    assert most == 4 * num_slots
    assert len(results_of(tmp_path / "out.jsonl")) == 20


def test_how_much_is_held_can_be_said(
    requests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, Any] = {}

    def remember(*arguments: Any, **options: Any) -> Generator:
        made.update(options)
        return Generator(*arguments, **options)

    monkeypatch.setattr("genai.generator.Generator", remember)
    command = ["batch", str(requests), "-o", str(tmp_path / "out.jsonl")]
    limits = ["--max-batch", "2", "--kv-cache-bytes", "50MB", "--device", "0", "--draft", "demo"]
    assert run_app([*command, *limits]) == 0
    assert (made["max_batch"], made["kv_cache_bytes"], made["devices"]) == (2, 50_000_000, [0])
    assert made["draft"] is not None
    assert len(results_of(tmp_path / "out.jsonl")) == 5
    requests.write_text(request_line("more"), encoding="utf-8")
    (tmp_path / "out.jsonl").unlink()
    assert run_app([*command, "--device", "0", "--device", "0"]) == 2
    assert "different device numbers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], "line 1: this is not JSON"),
        (['{"custom_id": "a", "body": ' + "[" * 100_000], "line 1: this is not JSON"),
        (["{}"], "custom_id"),
        ([request_line("a"), "", request_line("a")], 'line 3: custom_id "a" was given on line 1'),
        ([request_line("a", "/v1/embeddings")], "url"),
        ([json.dumps({"custom_id": "a", "method": "GET", "url": CHAT})], "method"),
    ],
)
def test_a_wrong_line_is_named_before_anything_runs(lines: list[str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(OptionError, match=message):
        list(read_batch(path))


def test_the_command(requests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["batch", str(requests), "-o", str(tmp_path / "out.jsonl")]
    assert run_app(command) == 0
    assert results_of(tmp_path / "out.jsonl").keys() == {"0", "1", "2", "3", "4"}
    assert run_app(command) == 0
    assert "5 of 5 requests have results" in capsys.readouterr().err
    requests.write_text(request_line("other"), encoding="utf-8")
    assert run_app(command) == 2
    assert "no request of" in capsys.readouterr().err
    (tmp_path / "out.jsonl").write_text("something else\n", encoding="utf-8")
    assert run_app(command) == 2
    assert "write to another file" in capsys.readouterr().err


def test_errors_are_counted_and_run_again_where_that_is_asked_for(
    requests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.jsonl"
    command = ["batch", str(requests), "-o", str(output)]
    right = request_line("right")
    requests.write_text("\n".join([right, request_line("wrong", temprature=1)]), encoding="utf-8")
    assert run_app(command) == 1
    assert f"2 results in {output}, 1 of them errors (--retry-errors" in capsys.readouterr().err
    before = results_of(output)
    requests.write_text("\n".join([right, request_line("wrong", temperature=1)]), encoding="utf-8")
    assert run_app(command) == 1
    assert "2 of 2 requests have results" in capsys.readouterr().err
    assert run_app([*command, "--retry-errors"]) == 0
    after = results_of(output)
    assert after["wrong"]["status_code"] == 200
    assert after["right"] == before["right"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_what_is_no_result_of_this_batch_is_refused(
    requests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.jsonl"
    assert run_app(["batch", str(requests), "-o", str(requests)]) == 2
    assert "is the file of requests" in capsys.readouterr().err
    shutil.copy(requests, output)
    assert run_app(["batch", str(requests), "-o", str(output)]) == 2
    assert "line 1: this is no result of a batch" in capsys.readouterr().err
    output.unlink()
    assert run_app(["batch", str(requests), "-o", str(output)]) == 0
    assert run_app(["batch", str(requests), "-o", str(output), "-m", "phi"]) == 2
    assert 'results of the model "demo", not of "phi"' in capsys.readouterr().err
    requests.write_text("\n", encoding="utf-8")
    assert run_app(["batch", str(requests), "-o", str(output)]) == 0
    assert "has no requests" in capsys.readouterr().err
