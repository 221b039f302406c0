"""Moved keys are what they were if they had been computed where they are now; a shift is what transformers' SinkCache did."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from genai.config import GenerationConfig
from genai.engine import Engine, Request
from genai.errors import OptionError
from genai.folder import ModelFolder
from genai.runtime import Decoder
from genai.runtime.rotations import read_rotations
from tests.export.test_parity import LONGROPE
from tests.runtime.test_any_graph import KINDS
from tests.spans import prefill

Folders = Callable[..., tuple[Path, Path]]

WINDOW, NUM_SINKS = 24, 3
NUM_DROPPED = (WINDOW - NUM_SINKS) // 2
IDS = np.random.default_rng(0).integers(3, 331, 200).tolist()


def decoder_of(model_folder: Folders, family: str, **options: Any) -> Decoder:
    folder = ModelFolder.load(model_folder(family, **options.pop("export", {}))[1])
    return Decoder(folder, num_threads=1, **{"max_context": WINDOW, **options})


@pytest.mark.parametrize(
    "family",
    [
        "llama",
        "phi",  # a part of each head turns
        "gptj",  # neighbours
        "deepseek_v2",  # the end of each key
        "gemma3_text",  # tables of two kinds
        "gpt_oss",  # with a factor
        "smollm3",  # not all layers
    ],
)
def test_moved_keys_are_those_of_their_new_positions(model_folder: Folders, family: str) -> None:
    decoder = decoder_of(model_folder, family)
    cache = decoder.cache
    slot, other = cache.acquire(IDS), cache.acquire(IDS)
    assert slot is not None
    assert other is not None
    cache.reserve(WINDOW)
    prefill(decoder, slot, IDS[:WINDOW])
    before = cache.read(slot).tensors
    cache.drop(slot, NUM_SINKS, NUM_DROPPED, decoder.rotations())
    kept = [*IDS[:NUM_SINKS], *IDS[NUM_SINKS + NUM_DROPPED : WINDOW]]
    assert slot.token_ids == kept
    prefill(decoder, other, kept)
    moved, computed = cache.read(slot).tensors, cache.read(other).tensors
    width = 40 if family == "deepseek_v2" else None  # of values that are read, where keys serve as such
    np.testing.assert_allclose(
        moved[0], computed[0], atol=2e-6
    )  # the first layer's depend on their own tokens alone
    np.testing.assert_allclose(moved[1][..., :width], computed[1][..., :width], atol=2e-6)
    for was, now, rotation in zip(before, moved, decoder.rotations(), strict=True):
        np.testing.assert_array_equal(was[:, :, :NUM_SINKS], now[:, :, :NUM_SINKS])
        tail = was[:, :, NUM_SINKS + NUM_DROPPED :]
        if rotation is None:
            np.testing.assert_array_equal(tail, now[:, :, NUM_SINKS:])
        else:
            assert np.abs(tail - now[:, :, NUM_SINKS:]).max() > 0.1
    cache.check()


def run(decoder: Decoder, *requests: Request, chunk: int = 7) -> None:
    engine = Engine(decoder, prefill_chunk=chunk)
    for each in requests:
        engine.submit(each)
    while engine.has_work:
        engine.advance()
        engine.check()
    for each in requests:
        if each.error is not None:
            raise each.error


def shifting(prompt: Sequence[int], **options: Any) -> Request:
    options = {"max_new_tokens": 80, "num_sink_tokens": NUM_SINKS, "context_policy": "shift", **options}
    return Request(prompt, GenerationConfig().merge(**options))


@torch.no_grad()
def transformers_answer(checkpoint: Path, prompt: Sequence[int], count: int) -> list[int]:
    """Generate token by token with a DynamicCache that is cut and turned as SinkCache did it."""
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    past = transformers.DynamicCache()
    ids = list(prompt)
    for position in range(len(prompt) + count - 1):
        if past.get_seq_length() == WINDOW:
            _shift(past, model.model.rotary_emb)
        here = torch.tensor([[past.get_seq_length()]])
        logits = model(torch.tensor([[ids[position]]]), position_ids=here, cache=past).logits
        if position >= len(prompt) - 1:
            ids.append(int(logits[0, -1].argmax()))
    return ids[len(prompt) :]


def _shift(past: Any, rotary: Any) -> None:
    old = torch.arange(NUM_SINKS + NUM_DROPPED, WINDOW)[None]
    for layer in past.layers:
        keys = layer.keys[:, :, NUM_SINKS + NUM_DROPPED :]
        cos, sin = rotary(keys, old)
        new_cos, new_sin = rotary(keys, old - NUM_DROPPED)
        turn_cos = cos * new_cos + sin * new_sin
        turn_sin = -sin * new_cos + cos * new_sin
        dim = cos.shape[-1]
        turned, rest = keys[..., :dim], keys[..., dim:]
        halves = torch.cat((-turned[..., dim // 2 :], turned[..., : dim // 2]), dim=-1)
        keys = torch.cat((turned * turn_cos + halves * turn_sin, rest), dim=-1)
        layer.keys = torch.cat((layer.keys[:, :, :NUM_SINKS], keys), dim=2)
        layer.values = torch.cat(
            (layer.values[:, :, :NUM_SINKS], layer.values[:, :, NUM_SINKS + NUM_DROPPED :]), dim=2
        )


@pytest.mark.parametrize("family", ["llama", "phi", "qwen3"])
def test_a_generation_is_what_transformers_makes_of_it(model_folder: Folders, family: str) -> None:
    each = shifting(IDS[:10])
    run(decoder_of(model_folder, family), each)
    assert each.result is not None
    expected = transformers_answer(model_folder(family)[0], IDS[:10], 80)
    assert list(each.result.token_ids) == expected


@pytest.mark.parametrize("options", [{}, {"precision": "int4"}, {"precision": "fp16"}])
def test_a_shift_beside_others_and_after_giving_way_changes_nothing(
    model_folder: Folders, options: dict[str, Any]
) -> None:
    alone = shifting(IDS[:10])
    run(decoder_of(model_folder, "llama", export=options, optimize_for="memory"), alone, chunk=1)
    decoder = decoder_of(model_folder, "llama", export=options, optimize_for="memory")
    limit = decoder.cache.shape.num_bytes(2, WINDOW)
    decoder = decoder_of(model_folder, "llama", export=options, optimize_for="memory", kv_cache_bytes=limit)
    plain = Request(IDS[50:60], GenerationConfig().merge(max_new_tokens=14))
    together = shifting(IDS[:10])
    engine = Engine(decoder, prefill_chunk=1)
    engine.submit(together)
    for step in range(300):
        engine.advance()
        engine.check()
        if step == 60:
            engine.submit(plain)
        if step == 65:
            engine._scheduler._preempt(engine._scheduler.running[0])
    assert together.num_preemptions
    assert alone.result is not None
    assert together.result is not None
    assert together.result.token_ids == alone.result.token_ids


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("gpt2", "its keys are not rotated"),
        ("opt", "its keys are not rotated"),
        ("bloom", "bias by position"),
        ("llama4_text", "bias by position"),
        ("lfm2", "its layers have states"),
        ("hunyuan_v1_dense", "cannot be told behind RotaryEmbedding"),
    ],
)
def test_what_cannot_be_moved_is_refused_by_name(model_folder: Folders, family: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        run(decoder_of(model_folder, family), shifting([1, 2, 3]))


def test_two_tables_of_positions_are_refused_where_both_may_be_read(model_folder: Folders) -> None:
    export = {"rope_parameters": LONGROPE, "original_max_position_embeddings": 32}
    run(decoder_of(model_folder, "phi3", export=export, max_context=32), shifting(IDS[:10]))
    with pytest.raises(OptionError, match="LongRoPE"):
        run(decoder_of(model_folder, "phi3", export=export, max_context=33), shifting(IDS[:10]))


def test_a_cache_of_codes_is_refused(model_folder: Folders) -> None:
    decoder = decoder_of(model_folder, "llama")
    port = decoder._session.graph.cache[0]
    port = dataclasses.replace(port, tensor=dataclasses.replace(port.tensor, dtype=np.int8))
    with pytest.raises(OptionError, match="its cache holds codes"):
        read_rotations(decoder._folder, [port], max_context=WINDOW)


def test_a_folder_that_is_gone_is_told(model_folder: Folders, tmp_path: Path) -> None:
    shutil.copytree(model_folder("llama")[1], tmp_path / "model")
    decoder = Decoder(ModelFolder.load(tmp_path / "model"), num_threads=1)
    (tmp_path / "model" / "model.onnx").unlink()
    with pytest.raises(OptionError, match="the graph cannot be read again"):
        run(decoder, shifting(IDS[:10]))


def test_a_graph_that_attends_by_other_operators_is_refused(tmp_path: Path) -> None:
    decoder = Decoder(KINDS["growing"]().folder(tmp_path), num_threads=1)
    with pytest.raises(OptionError, match="not GroupQueryAttention"):
        run(decoder, shifting([1, 2]))
