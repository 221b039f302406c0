"""The step on an accelerator, with the CPU's real kernels behind memory that is reached by copies of views alone."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from genai import Generator
from genai.cache import Buffer
from genai.errors import GenerationError, ModelFolderError, OptionError
from genai.folder import ModelFolder
from genai.graph.names import BEST_IDS, LOGITS
from genai.model import Span
from genai.runtime import Decoder, first_provider
from genai.runtime import session as sessions
from genai.runtime.adapt import adapt_model, narrow_outputs, take_positions
from genai.runtime.addressed_device import AddressedDevice
from genai.runtime.decoding import _Launched
from genai.runtime.graph_interface import GraphInterface
from genai.runtime.ort import onnxruntime
from genai.runtime.recorded_runs import MAX_RECORDED, NOT_RECORDED, Recorder
from genai.runtime.step_buffers import StepBuffers

PROMPTS = [[5, 6, 7, 8, 9, 10], [3, 4], [11], [7, 7, 7, 7]]


class CountingDevice(AddressedDevice):
    """Counts copies between host and device."""

    copies: list[tuple[str, int]]

    def copy_in(self, array: np.ndarray, buffer: Buffer) -> None:
        self.copies.append(("in", buffer.nbytes))
        super().copy_in(array, buffer)

    def copy_out(self, buffer: Buffer, array: np.ndarray) -> None:
        self.copies.append(("out", buffer.nbytes))
        super().copy_out(buffer, array)


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Let sessions of the CPU pretend to be an accelerator that records runs; the copies that are made."""
    made: list[tuple[str, int]] = []

    def device(provider: object, index: int, session: Any, **_: Any) -> CountingDevice:
        found = CountingDevice("cpu", index, session)
        found.copies = made
        return found

    def open_session(
        provider: Any, model: bytes, make_options: Any, chosen: Any, index: int, *, may_record: bool
    ) -> Any:
        proto = onnx.ModelProto.FromString(model)
        narrow_outputs(proto.graph)
        return onnxruntime.InferenceSession(
            proto.SerializeToString(), make_options(), providers=[provider.ort_name]
        )

    monkeypatch.setattr(sessions, "_device", device)
    monkeypatch.setattr(first_provider, "_open", open_session)
    monkeypatch.setattr(sessions, "records_runs", lambda *_: True)
    return made


@pytest.mark.parametrize("family", ["llama", "gpt2", "lfm2", "gemma3_text", "qwen3_next"])
@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.8, "seed": 3}, {"num_beams": 3}], ids=["greedy", "sampled", "beams"]
)
def test_it_gives_what_the_host_does(
    model_folder: Callable[..., tuple[Path, Path]],
    request: pytest.FixtureRequest,
    family: str,
    options: dict[str, Any],
) -> None:
    path = model_folder(family)[1]
    asked = {"max_new_tokens": 12, "ignore_eos": True, **options}
    with Generator(path, provider="cpu") as generator:
        expected = [generator.generate(token_ids=PROMPTS, **asked) for _ in range(2)]
    request.getfixturevalue("copies")
    with Generator(path, provider="cpu") as generator:
        found = [generator.generate(token_ids=PROMPTS, **asked) for _ in range(2)]
        generator._decoder.cache.check()
    for ours, theirs in zip(chain(*found), chain(*expected), strict=True):
        assert ours.token_ids == theirs.token_ids


def test_a_greedy_step_is_one_copy_in_and_eight_bytes_out(
    model_folder: Callable[..., tuple[Path, Path]], copies: list[tuple[str, int]]
) -> None:
    with Generator(model_folder("llama")[1], provider="cpu") as generator:
        stream = generator.stream(token_ids=[1, 2, 3], max_new_tokens=8, ignore_eos=True)
        next(stream)
        copies.clear()
        next(stream)
        assert [way for way, _ in copies] == ["out", "in"], (
            "what came, and what the next step is launched with"
        )
        assert copies[0] == ("out", 8)
        list(stream)
        generator.generate(token_ids=[3], max_new_tokens=2, logprobs=True, ignore_eos=True)
        assert copies[-1] == ("out", 4 * generator.vocab_size)


@pytest.mark.parametrize("family", ["llama", "lfm2"], ids=["keys and values", "states"])
@pytest.mark.parametrize(("seed", "max_batch"), [(0, 5), (1, 8), (2, 8), (4, 8), (5, 3), (6, 5)])
def test_what_is_launched_ahead_is_right_whoever_joins_and_leaves(
    model_folder: Callable[..., tuple[Path, Path]],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    seed: int,
    max_batch: int,
) -> None:
    random = np.random.default_rng(seed)
    asked: list[dict[str, Any]] = [
        {
            "token_ids": random.integers(3, 60, random.integers(1, 20)).tolist(),
            "max_new_tokens": int(random.integers(1, 40)),
            "ignore_eos": True,
            **({"temperature": 1.0, "seed": 5} if random.random() < 0.15 else {}),
        }
        for _ in range(24)
    ]
    path = model_folder(family)[1]
    with Generator(path, provider="cpu") as generator:
        expected = [list(generator.generate(**each).token_ids) for each in asked]
    request.getfixturevalue("copies")
    taken = {True: 0, False: 0}
    appends = _Launched.appends

    def counting(launched: _Launched, token_of: Any, epoch: int) -> bool:
        is_taken = appends(launched, token_of, epoch)
        taken[is_taken] += 1
        return is_taken

    monkeypatch.setattr(_Launched, "appends", counting)
    with Generator(path, provider="cpu", max_batch=max_batch) as generator:
        (engine,) = generator._engine.engines
        streams = {}
        for place, each in enumerate(asked):
            streams[place] = generator.stream(**each)
            for _ in range(random.integers(0, 12)):
                engine.advance()
                generator._engine.check()
            while streams and random.random() < 0.3:
                streams.pop(int(random.choice(list(streams)))).close()
        for place, stream in streams.items():
            assert [token_id for piece in stream for token_id in piece.token_ids] == expected[place]
    assert taken[True] > 5
    assert taken[False], "some were passed over"


def widened_graph(float_type: int) -> onnx.ModelProto:
    """Logits of a half type that are widened, as exports have them, and a cache of that type."""
    shape = ["batch_size", "num_logits", 5]
    nodes = [
        helper.make_node("Identity", ["past_key_values.0.key"], ["hidden"]),
        helper.make_node("Cast", ["hidden"], [LOGITS], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "decoder",
        [helper.make_tensor_value_info("past_key_values.0.key", float_type, shape)],
        [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, shape)],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])


@pytest.mark.parametrize(
    ("float_type", "output"),
    [(TensorProto.FLOAT16, "tensor(float16)"), (TensorProto.FLOAT, "tensor(float)")],
)
def test_outputs_are_narrow(float_type: int, output: str) -> None:
    model = widened_graph(float_type)
    narrow_outputs(model.graph)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert {each.name: each.type for each in session.get_outputs()} == {
        LOGITS: output,
        BEST_IDS: "tensor(int64)",
    }
    dtype = np.float16 if float_type == TensorProto.FLOAT16 else np.float32
    logits = np.array([[[1, 5, 2, 5, 0], [-4, -3, -2, -1, -9]], [[1, np.inf, 2, 3, 4], [-np.inf] * 5]], dtype)
    found, best = session.run([LOGITS, BEST_IDS], {"past_key_values.0.key": logits})
    np.testing.assert_array_equal(found, logits)
    assert best.tolist() == [[1, 3], [-1, -1]]


@pytest.mark.parametrize("family", ["llama", "gpt2", "lfm2", "gemma3_text"])
def test_positions_may_be_indices(
    model_folder: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    path = model_folder(family)[1]
    with Generator(path, provider="cpu") as generator:
        expected = [result.token_ids for result in generator.generate(token_ids=PROMPTS, max_new_tokens=4)]
        logits = generator.logits(token_ids=[5, 6, 7, 8])
    opened = first_provider._open

    def open_session(provider: Any, model: bytes, *rest: Any, **options: Any) -> Any:
        proto = onnx.ModelProto.FromString(model)
        assert take_positions(proto.graph)
        assert "num_logits_to_keep" not in {each.name for each in proto.graph.input}
        return opened(provider, proto.SerializeToString(), *rest, **options)

    monkeypatch.setattr(first_provider, "_open", open_session)
    with Generator(path, provider="cpu") as generator:
        assert [
            each.token_ids for each in generator.generate(token_ids=PROMPTS, max_new_tokens=4)
        ] == expected
        np.testing.assert_array_equal(generator.logits(token_ids=[5, 6, 7, 8]), logits)


def test_a_number_that_something_else_reads_stays(model_folder: Callable[..., tuple[Path, Path]]) -> None:
    model = onnx.load(model_folder("llama")[1] / "model.onnx", load_external_data=False)
    adapt_model(model)
    model.graph.node.append(helper.make_node("Identity", ["num_logits_to_keep"], ["kept"]))
    before = model.SerializeToString(deterministic=True)
    assert not take_positions(model.graph)
    assert model.SerializeToString(deterministic=True) == before


class SmallDevice(AddressedDevice):
    """Tells how much of its memory is free."""

    num_free = 0

    def free_bytes(self) -> int:
        return self.num_free


@pytest.mark.usefixtures("copies")
def test_the_cache_stays_within_what_is_free(
    model_folder: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ModelFolder.load(model_folder("llama")[1])
    monkeypatch.setattr(sessions, "_device", lambda p, i, session, **_: SmallDevice("cpu", 0, session))
    monkeypatch.setattr(SmallDevice, "num_free", 100_000)
    assert Decoder(folder).cache.shape.max_bytes == 90_000
    assert Decoder(folder, kv_cache_bytes=70_000).cache.shape.max_bytes == 70_000
    monkeypatch.setattr(SmallDevice, "num_free", 100)
    with pytest.raises(OptionError, match="holds not even one token"):
        Decoder(folder)


def test_weights_that_do_not_fit_are_an_error_with_the_arithmetic(
    model_folder: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_provider, "free_device_bytes", lambda *_: 1024)
    folder = ModelFolder.load(model_folder("llama")[1])
    with pytest.raises(ModelFolderError, match=r"the weights take \d+ MiB, and 0 MiB are free on cpu:0"):
        Decoder(folder)


@pytest.mark.parametrize("float_type", [TensorProto.FLOAT16, TensorProto.FLOAT])
def test_half_logits_that_nobody_widens(float_type: int) -> None:
    model = widened_graph(float_type)
    del model.graph.node[1]
    model.graph.node[0].output[0] = LOGITS
    model.graph.output[0].type.tensor_type.elem_type = float_type
    narrow_outputs(model.graph)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    dtype = np.float16 if float_type == TensorProto.FLOAT16 else np.float32
    logits = np.array([[[1, np.nan, 2, 5, 0], [0, 1, -np.inf, 9, 3], [np.nan, 1, 2, 3, 4]]], dtype)
    found, best = session.run([LOGITS, BEST_IDS], {"past_key_values.0.key": logits})
    np.testing.assert_array_equal(found, logits)
    assert best.tolist() == [[-1, 3, -1]], "NaN anywhere is a failure, and -inf is a token that cannot be"


@pytest.mark.usefixtures("copies")
@pytest.mark.parametrize("max_rows", [None, 1], ids=["any rows", "one row"])
def test_a_recorded_run_is_told_the_most_that_a_row_can_have(
    model_folder: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch, max_rows: int | None
) -> None:
    """A replay has its scalars frozen, however few rows the graph takes at a time."""
    read, write, told = GraphInterface.of_session, StepBuffers.write, []

    def of_session(*args: Any) -> GraphInterface:
        return dataclasses.replace(read(*args), max_rows=max_rows)

    def noting(buffers: StepBuffers, *args: Any, **options: Any) -> None:
        told.append(options.get("total_length"))
        write(buffers, *args, **options)

    monkeypatch.setattr(GraphInterface, "of_session", of_session)
    monkeypatch.setattr(StepBuffers, "write", noting)
    with Generator(model_folder("llama")[1], provider="cpu") as generator:
        generator.generate(token_ids=PROMPTS[:2], max_new_tokens=4, ignore_eos=True)
        steps = [length for length in told if length is not None]
        assert len(steps) >= 4
        assert set(steps) == {generator._decoder.cache.capacity}


@pytest.mark.usefixtures("copies")
def test_no_run_is_recorded_that_reads_a_scalar_of_its_rows(
    model_folder: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ModelFolder.load(model_folder("llama")[1])
    assert Decoder(folder)._decoding._records
    monkeypatch.setattr(GraphInterface, "has_changing_scalars", property(lambda _: True))
    assert not Decoder(folder)._decoding._records


@pytest.mark.usefixtures("copies")
def test_a_row_that_is_taken_may_have_lost_its_first_slot(
    model_folder: Callable[..., tuple[Path, Path]],
) -> None:
    """An idle slot moves where a new sequence wants to lie next to those that run."""
    path = model_folder("llama")[1]
    with Generator(path, provider="cpu") as generator:
        decoder = generator._decoder
        slots = [decoder.cache.acquire([each, 2, 3]) for each in (1, 2, 3)]
        decoder.cache.reserve(20)
        decoder.run([Span(slot, [each, 2]) for each, slot in zip((1, 2, 3), slots, strict=True)])
        steps = [Span(slot, [3], 1, goes_on_greedily=True) for slot in slots]
        output = decoder.run(steps)
        best = [output.best_id(index) for index in range(3)]
        decoder.cache.release(slots[0])
        row = decoder._decoding._next.row
        decoder.cache._buffers.move(slots[0], next(s for s in decoder.cache.slots if s not in slots))
        assert row[0].index != 0
        rest = [
            Span(slot, [chosen], 1, goes_on_greedily=True)
            for slot, chosen in zip(slots[1:], best[1:], strict=True)
        ]
        output = decoder.run(rest)
        found = [output.best_id(index) for index in range(2)]
    with Generator(path, provider="cpu") as generator:
        for each, first, second in zip((2, 3), best[1:], found, strict=True):
            expected = generator.generate(token_ids=[each, 2, 3], max_new_tokens=2, ignore_eos=True)
            assert list(expected.token_ids) == [first, second]


@pytest.mark.usefixtures("copies")
def test_a_launched_run_that_fails_is_the_failure_of_the_step_that_wants_it(
    model_folder: Callable[..., tuple[Path, Path]],
) -> None:
    class Failing:
        def synchronize_outputs(self) -> None:
            raise RuntimeError("CUDA failure 700")

    with Generator(model_folder("llama")[1], provider="cpu") as generator:
        expected = generator.generate(token_ids=[1, 2], max_new_tokens=4, ignore_eos=True)
        streams = [
            generator.stream(token_ids=[each, 2], max_new_tokens=9, ignore_eos=True) for each in (3, 4)
        ]
        (engine,) = generator._engine.engines
        for _ in range(3):
            engine.advance()
        generator._decoder._session.device.launched(Failing())
        for stream in streams:
            with pytest.raises(GenerationError, match="cpu:0 failed: CUDA failure 700"):
                list(stream)
        generator._engine.check()
        again = generator.generate(token_ids=[1, 2], max_new_tokens=4, ignore_eos=True)
        assert again.token_ids == expected.token_ids


class SlowSession:
    """Notes which threads run it, and how many at a time."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.most, self.now = 0, 0

    def release_captured_graph(self, number: int) -> None:
        assert number > 0

    def run_with_iobinding(self, binding: object, options: object) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        self.threads.append(threading.current_thread())
        time.sleep(0.01)
        self.now -= 1


def test_two_threads_run_a_session_and_none_beside_one_that_records() -> None:
    slow = [SlowSession(), SlowSession()]
    launched: list[object] = []
    recorders = [Recorder(each, launched.append) for each in slow]

    def run(recorder: Recorder) -> None:
        for _ in range(3):
            recorder.run(object(), recorder.next_number(is_repeated=True), None)

    threads = [threading.Thread(target=run, args=(each,)) for each in recorders for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(set(each.threads)) <= 2 for each in slow)
    assert all(len(each.threads) == 12 for each in slow)
    assert all(each.most == 1 for each in slow), "each of these runs is recorded"
    assert not launched, "and waited for"


def test_no_more_runs_are_recorded_than_a_session_can_keep(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(SlowSession(), lambda binding: None)
    numbers = [recorder.next_number(is_repeated=True) for _ in range(MAX_RECORDED + 3)]
    assert numbers == [*range(1, MAX_RECORDED + 1), *[NOT_RECORDED] * 3]
    assert recorder.next_number(is_repeated=False) == NOT_RECORDED
    recorder.release(NOT_RECORDED)
    assert recorder.next_number(is_repeated=True) == NOT_RECORDED
    recorder.release(7)
    assert recorder.next_number(is_repeated=True) == MAX_RECORDED + 1, (
        "its place is free, its number never is"
    )
    assert len([each for each in caplog.records if "no more will be" in each.message]) == 1
