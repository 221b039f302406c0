"""Every kind of cache a graph can have: whatever happens to its slots, the logits are those of a run from scratch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genai.cache import Buffer, Slot
from genai.config import GenerationConfig
from genai.engine import Engine, Request
from genai.model import Span
from genai.runtime import Decoder
from genai.runtime.binding import run
from genai.runtime.devices import HostDevice
from tests.fakes import POISON
from tests.runtime.tiny_graphs import (
    SWITCH_LENGTH,
    VOCAB,
    Reference,
    TinyGraph,
    branching_attention,
    convolution,
    eight_bit_attention,
    folded_attention,
    fused_attention,
    fused_convolution,
    growing_attention,
    half_attention,
    linear_attention,
    masked_attention,
    rotary_attention,
    shared_attention,
    stacked_attention,
)
from tests.spans import decode, prefill, score

Block = Callable[[TinyGraph, int], str]
TOLERANCE = 1e-4


def graph_of(
    *blocks: Block,
    position_ids: bool = False,
    derives_positions: bool = False,
    head: str = "plain",
    **inputs: str,
) -> TinyGraph:
    graph = TinyGraph(derives_positions=derives_positions, head=head)
    if head.endswith("last"):
        graph.outputs["logits"] = f"float[batch_size, 1, {VOCAB}]"
    if position_ids:
        graph.inputs["position_ids"] = "int64[batch_size, sequence_length]"
    graph.inputs.update(inputs)
    for block in blocks:
        graph.add(block)
    return graph


KINDS: dict[str, Callable[[], TinyGraph]] = {
    "shared": partial(graph_of, shared_attention, shared_attention),
    "shared, a mask": partial(graph_of, masked_attention, masked_attention),
    "shared, 8 bits": partial(graph_of, eight_bit_attention),
    "growing, half precision": partial(graph_of, half_attention, half_attention, position_ids=True),
    "growing": partial(graph_of, growing_attention, growing_attention, position_ids=True),
    "growing, positions from the past": partial(
        graph_of, growing_attention, growing_attention, derives_positions=True
    ),
    "growing, int32 inputs": partial(
        graph_of,
        growing_attention,
        input_ids="int32[batch_size, sequence_length]",
        attention_mask="int32[batch_size, mask_length]",
        position_ids="int32[batch_size, sequence_length]",
    ),
    "growing, cache_position": partial(
        graph_of, growing_attention, growing_attention, cache_position="int64[sequence_length]"
    ),
    "growing, one row at a time": partial(
        graph_of, growing_attention, position_ids=True, input_ids="int64[1, sequence_length]"
    ),
    "growing, one token at a time": partial(
        graph_of, growing_attention, position_ids=True, input_ids="int64[batch_size, 1]"
    ),
    "growing, a branch for the cache": partial(
        graph_of, branching_attention, branching_attention, position_ids=True
    ),
    "growing, past_sequence_length": partial(
        graph_of, growing_attention, past_sequence_length="int32[1]", derives_positions=True
    ),
    "scaled logits": partial(graph_of, shared_attention, head="scaled"),
    "logits of all": partial(graph_of, shared_attention, growing_attention, head="opaque"),
    "logits of the last": partial(graph_of, shared_attention, head="last"),
    "logits of the last, sliced": partial(graph_of, shared_attention, head="sliced last"),
    "logits of the last, for ever": partial(graph_of, shared_attention, head="opaque last"),
    "logits of some": partial(graph_of, shared_attention, head="kept", num_logits_to_keep="int64[1]"),
    "heads in the batch": partial(graph_of, folded_attention, folded_attention, position_ids=True),
    "keys beside values": partial(graph_of, fused_attention, fused_attention, position_ids=True),
    "keys and values stacked": partial(graph_of, stacked_attention, stacked_attention, position_ids=True),
    "convolution": partial(graph_of, convolution, convolution),
    "linear attention": partial(graph_of, linear_attention, linear_attention),
    "states, then shared": partial(graph_of, fused_convolution, linear_attention, shared_attention),
    "states, then growing": partial(
        graph_of, fused_convolution, convolution, growing_attention, position_ids=True
    ),
    "shared, then growing": partial(graph_of, shared_attention, growing_attention, position_ids=True),
}


class Model:
    """A decoder in poisoned memory, with the graph that it was made of."""

    def __init__(self, graph: TinyGraph, path: Path) -> None:
        self.reference = Reference(_freed(graph))
        self.decoder = Decoder(graph.folder(path), max_batch=4, num_threads=1)


def _freed(graph: TinyGraph) -> Any:
    """Return a graph that runs over a whole sequence and gives the logits of all of it."""
    of_all = {"last": "plain", "sliced last": "plain", "opaque last": "half opaque"}
    head, graph.head = graph.head, of_all.get(graph.head, graph.head)
    model = graph.model()
    graph.head = head
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "sequence_length"
    for axis in model.graph.input[0].type.tensor_type.shape.dim:
        if axis.dim_value == 1:
            axis.dim_param = "free"
    return model


@pytest.fixture(scope="module", autouse=True)
def _poisoned_memory() -> Iterator[None]:
    allocate = HostDevice.allocate

    def allocate_poisoned(self: HostDevice, shape: tuple[int, ...], dtype: Any) -> Buffer:
        buffer = allocate(self, shape, dtype)
        self.host_view(buffer).view(np.uint8)[...] = POISON
        return buffer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HostDevice, "allocate", allocate_poisoned)
        yield


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.replace(" ", "-"))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(KINDS[request.param](), tmp_path_factory.mktemp("tiny"))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_of_operations_gives_the_logits_of_a_run_from_scratch(
    model: Model, data: st.DataObject
) -> None:
    decoder, cache = model.decoder, model.decoder.cache
    cache.reset()
    owned: list[Slot] = []
    tokens = st.lists(st.integers(0, 2), min_size=1, max_size=5)
    names = ["acquire", "prefill", "decode", "batch", "release", "move", "copy", "truncate", "grow", "score"]
    for _ in range(data.draw(st.integers(4, 16))):
        operation = data.draw(st.sampled_from(names))
        slot = data.draw(st.sampled_from(owned)) if owned else None
        if operation == "acquire":
            if (new := cache.acquire(data.draw(tokens))) is not None:
                owned.append(new)
        elif operation == "grow":
            cache.reserve(min(cache.capacity + 20, 96))
        elif slot is None:
            continue
        elif operation == "prefill" and len(slot.token_ids) < 60:
            prefill(decoder, slot, data.draw(tokens))
        elif operation == "score" and len(slot.token_ids) < 60:
            before, new_tokens = len(slot.token_ids), data.draw(tokens)
            logits = score(decoder, slot, new_tokens)
            expected = model.reference(slot.token_ids)[before:]
            np.testing.assert_allclose(logits, expected, atol=TOLERANCE)
        elif operation == "decode":
            count = data.draw(st.integers(1, len(owned)))
            logits = decode(decoder, [data.draw(st.integers(0, 2)) for _ in range(count)], owned[:count])
            for each, row in zip(owned[:count], logits, strict=True):
                np.testing.assert_allclose(row, model.reference(each.token_ids)[-1], atol=TOLERANCE)
        elif operation == "batch":
            _run_batch(model, data, [each for each in owned if len(each.token_ids) < 60])
        elif operation == "release":
            cache.release(slot)
            owned.remove(slot)
        elif operation == "move" and (free := [each for each in cache.slots if not each.in_use]):
            cache._buffers.move(slot, data.draw(st.sampled_from(free)))
        elif operation == "copy" and len(owned) > 1:
            cache.copy(slot, data.draw(st.sampled_from([each for each in owned if each is not slot])))
        elif operation == "truncate":
            kept = st.integers(0, len(slot.token_ids))
            cache.truncate(slot, data.draw(kept if cache.can_truncate else st.just(0)))
        cache.check()


def _run_batch(model: Model, data: st.DataObject, slots: list[Slot]) -> None:
    """Run spans of any kind together, and compare all logits that they want."""
    spans = []
    for slot in slots:
        token_ids = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=5))
        spans.append(Span(slot, token_ids, data.draw(st.integers(0, len(token_ids)))))
    prompts = [span.slot for span in spans if not span.num_logits]
    unwanted = [slot for slot in prompts if data.draw(st.integers(0, 2)) == 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "genai.runtime.stoppable_runs.run",
            lambda binding: (model.decoder.give_up(unwanted), run(binding)),  # which ONNX Runtime then ends
        )
        output = model.decoder.run(spans)
    for index, span in enumerate(spans):
        if span.num_logits:
            expected = model.reference(span.slot.token_ids)[-span.num_logits :]
            np.testing.assert_allclose(output.logits_of(index, span.num_logits), expected, atol=TOLERANCE)


def test_batched_prompts_of_any_length_answer_as_if_alone(model: Model) -> None:
    model.decoder.cache.reset()
    engine = Engine(model.decoder, prefill_chunk=4)
    prompts = [[1, 2, 3, 4, 5, 6, 7], [4], [5, 6, 7], [5, 6, 9], [8, 9], [1, 2, 3, 4, 5]]
    requests = [_request(prompt, max_new_tokens=6 + i) for i, prompt in enumerate(prompts)]
    _run(engine, requests)
    for i, (prompt, request) in enumerate(zip(prompts, requests, strict=True)):
        assert list(request.result.token_ids) == model.reference.greedy(prompt, 6 + i)
    again = _request([*prompts[0], *requests[0].result.token_ids, 3], max_new_tokens=5)
    _run(engine, [again])
    assert list(again.result.token_ids) == model.reference.greedy(again.prompt_token_ids, 5)


def test_beams_equal_those_of_a_search_without_a_cache(model: Model) -> None:
    model.decoder.cache.reset()
    requests = [_request([1, 2, 3, 4], num_beams=3, max_new_tokens=6), _request([7, 8], max_new_tokens=9)]
    _run(Engine(model.decoder), requests)
    assert list(requests[0].result.token_ids) == _beam_search(model.reference, [1, 2, 3, 4], 3, 6)
    assert list(requests[1].result.token_ids) == model.reference.greedy([7, 8], 9)


def test_rows_on_both_sides_of_a_rope_switch_answer_as_if_alone(tmp_path: Path) -> None:
    model = Model(graph_of(rotary_attention, rotary_attention), tmp_path)
    assert model.decoder.rope_switch_length == SWITCH_LENGTH
    prompts = [[1, 2, 3], [4, 5, 6, 7, 8, 9, 10, 11, 12, 13], [5, 6], list(range(SWITCH_LENGTH)), [3]]
    requests = [_request(prompt, max_new_tokens=4 + 2 * i) for i, prompt in enumerate(prompts)]
    _run(Engine(model.decoder, prefill_chunk=3), requests)
    for i, (prompt, request) in enumerate(zip(prompts, requests, strict=True)):
        assert list(request.result.token_ids) == model.reference.greedy(prompt, 4 + 2 * i)
    beams = _request([1, 2, 3, 4, 5], num_beams=3, max_new_tokens=8)
    _run(Engine(model.decoder), [beams])
    assert list(beams.result.token_ids) == _beam_search(model.reference, [1, 2, 3, 4, 5], 3, 8)


def _request(prompt: Any, **options: Any) -> Request:
    return Request(prompt, GenerationConfig().merge(**options), tokenizer=None, eos_token_ids=())


def _run(engine: Engine, requests: list[Request]) -> None:
    for request in requests:
        engine.submit(request)
    engine.run(requests)
    engine.check()
    for request in requests:
        if request.error is not None:
            raise request.error


def _beam_search(reference: Reference, prompt: list[int], num_beams: int, length: int) -> list[int]:
    beams: list[tuple[float, list[int]]] = [(0.0, list(prompt))]
    for _ in range(length):
        candidates = []
        for total, ids in beams:
            logits = reference(ids)[-1].astype(np.float64)
            log_probs = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
            candidates += [(total + log_prob, [*ids, token]) for token, log_prob in enumerate(log_probs)]
        beams = sorted(candidates, key=lambda each: -each[0])[:num_beams]
    return beams[0][1][len(prompt) :]
