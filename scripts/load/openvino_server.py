"""OpenVINO GenAI behind OpenAI's completions: as little as lets `load_test.py` ask it as it asks the others.

Runs in an environment with openvino-genai, and imports nothing else. Prompts are tokens. Text is one word per token, which
spares OpenVINO the detokenizer that the others run. One thread drives the engine; connections are the event loop's.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import openvino
import openvino_genai


class Engine:
    """The batch that runs, in a thread of its own.

    Args:
        pipeline: OpenVINO's.
        loop: Who waits for tokens.
    """

    def __init__(self, pipeline: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._pipeline = pipeline
        self._loop = loop
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._new: list[tuple[Sequence[int], int, asyncio.Queue[list[int] | None]]] = []
        self._running: list[tuple[Any, asyncio.Queue[list[int] | None]]] = []
        self._left: set[asyncio.Queue[list[int] | None]] = set()
        threading.Thread(target=self._run, daemon=True).start()

    def submit(self, prompt: Sequence[int], count: int) -> asyncio.Queue[list[int] | None]:
        """Queue a prompt; return where its tokens come, and `None` behind them."""
        tokens: asyncio.Queue[list[int] | None] = asyncio.Queue()
        with self._changed:
            self._new.append((prompt, count, tokens))
            self._changed.notify()
        return tokens

    def leave(self, tokens: asyncio.Queue[list[int] | None]) -> None:
        """Nobody waits for these any more."""
        with self._changed:
            self._left.add(tokens)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._new or self._running)
                new, self._new = self._new, []
                left, self._left = self._left, set()
            self._running += [(self._add(prompt, count), tokens) for prompt, count, tokens in new]
            for handle, tokens in self._running:
                if tokens in left:
                    handle.stop()
            self._pipeline.step()
            self._loop.call_soon_threadsafe(self._give, *self._take())

    def _add(self, prompt: Sequence[int], count: int) -> Any:
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens, config.ignore_eos, config.do_sample = count, True, False
        ids = openvino.Tensor(np.array([prompt], np.int64))
        return self._pipeline.add_request(next(self._numbers), ids, config)

    def _take(self) -> tuple[list[tuple[asyncio.Queue[list[int] | None], list[int]]], list[Any]]:
        """Return what the step brought, and whose answers have ended."""
        came, ended, running = [], [], []
        for handle, tokens in self._running:
            if handle.can_read():
                came += [(tokens, list(output.generated_ids)) for output in handle.read().values()]
            if handle.get_status() == openvino_genai.GenerationStatus.RUNNING:
                running.append((handle, tokens))
            else:
                ended.append(tokens)
        self._running = running
        return came, ended

    @staticmethod
    def _give(
        came: Sequence[tuple[asyncio.Queue[Any], list[int]]], ended: Sequence[asyncio.Queue[Any]]
    ) -> None:
        for tokens, ids in came:
            tokens.put_nowait(ids)
        for tokens in ended:
            tokens.put_nowait(None)


class Connections:
    """HTTP/1.1, as far as it is asked for here.

    Args:
        engine: Who answers.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after another."""
        try:
            while line := await reader.readline():
                path = line.split()[1].decode()
                length = 0
                while (header := (await reader.readline()).strip()) != b"":
                    name, _, value = header.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                body = await reader.readexactly(length)
                if path == "/v1/completions":
                    await self._complete(json.loads(body), writer)
                else:
                    known = json.dumps({"object": "list", "data": [{"id": "model", "object": "model"}]})
                    writer.write(_head("application/json", f"Content-Length: {len(known)}"))
                    writer.write(known.encode())
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            writer.close()

    async def _complete(self, body: Mapping[str, Any], writer: asyncio.StreamWriter) -> None:
        tokens = self._engine.submit(body["prompt"], body["max_tokens"])
        try:
            writer.write(_head("text/event-stream", "Transfer-Encoding: chunked"))
            count = 0
            while (ids := await tokens.get()) is not None:
                count += len(ids)
                for event in _events(ids):
                    writer.write(event)
                await writer.drain()
                if writer.transport.is_closing():
                    return
            usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": count}
            writer.write(_event({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]}))
            writer.write(_event({"choices": [], "usage": usage}))
            writer.write(_chunk(b"data: [DONE]\n\n") + _chunk(b""))
        finally:
            self._engine.leave(tokens)


def _events(ids: Sequence[int]) -> Iterator[bytes]:
    for each in ids:
        yield _event({"choices": [{"index": 0, "text": f" t{each}", "finish_reason": None}]})


def _event(value: Mapping[str, Any]) -> bytes:
    return _chunk(
        f"data: {json.dumps({'object': 'text_completion', 'model': 'model', **value})}\n\n".encode()
    )


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _head(kind: str, header: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{header}\r\n\r\n".encode()


def open_pipeline(arguments: argparse.Namespace) -> Any:
    """Return OpenVINO's pipeline, whose cache grows as it is needed."""
    config = openvino_genai.SchedulerConfig()
    config.max_num_seqs = arguments.sequences
    config.enable_prefix_caching = True
    return openvino_genai.ContinuousBatchingPipeline(
        arguments.model, config, "CPU", {"INFERENCE_NUM_THREADS": arguments.threads}
    )


async def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    for name in ("port", "sequences", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    engine = Engine(open_pipeline(arguments), asyncio.get_running_loop())
    server = await asyncio.start_server(Connections(engine).serve, "127.0.0.1", arguments.port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
