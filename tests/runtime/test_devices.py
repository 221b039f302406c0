from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genai.cache import Buffer, CacheShape, Device, KVCache
from genai.errors import GenerationError
from genai.folder import ModelFolder
from genai.runtime import Decoder
from genai.runtime.addressed_device import AddressedDevice
from genai.runtime.devices import HostDevice
from genai.runtime.installed import identity_model
from genai.runtime.ort import onnxruntime
from tests.fakes import POISON
from tests.spans import decode, prefill, score


class DetachedDevice(HostDevice):
    """Host memory that pretends to be an accelerator's: poisoned at first, and reached by copies alone."""

    def allocate(self, shape: tuple[int, ...], dtype: object) -> Buffer:
        buffer = super().allocate(shape, dtype)  # type: ignore[arg-type]
        super().host_view(buffer).view(np.uint8)[...] = POISON
        return buffer

    def host_view(self, buffer: Buffer) -> None:  # type: ignore[override]
        return None

    def copy_in(self, array: np.ndarray, buffer: Buffer) -> None:
        HostDevice.host_view(self, buffer)[...] = array

    def copy_out(self, buffer: Buffer, array: np.ndarray) -> None:
        array[...] = HostDevice.host_view(self, buffer)

    def copy_positions(
        self, source: Buffer, target: Buffer, count: int, *, source_start: int = 0, target_start: int = 0
    ) -> None:
        to_view, from_view = HostDevice.host_view(self, target), HostDevice.host_view(self, source)
        to_view[:, :, target_start : target_start + count] = from_view[
            :, :, source_start : source_start + count
        ]

    def discard(self, buffer: Buffer, start: int) -> None:
        HostDevice.host_view(self, buffer)[:, :, start:].view(np.uint8)[...] = POISON


def devices() -> list[Device]:
    session = onnxruntime.InferenceSession(identity_model(), providers=["CPUExecutionProvider"])
    return [HostDevice(), AddressedDevice("cpu", 0, session), DetachedDevice()]


@pytest.mark.parametrize("device", devices(), ids=lambda d: type(d).__name__)
def test_what_goes_in_comes_out(device: Device) -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    buffer = device.allocate(values.shape, np.float32)
    device.copy_in(values, buffer)
    back = np.empty_like(values)
    device.copy_out(buffer, back)
    np.testing.assert_array_equal(back, values)
    row = np.empty_like(values[1:])
    device.copy_out(buffer.rows(1, 1), row)
    np.testing.assert_array_equal(row, values[1:])


@pytest.mark.parametrize("device", devices(), ids=lambda d: type(d).__name__)
@pytest.mark.parametrize("capacities", [(5, 5), (5, 9), (9, 5)])
def test_positions_are_copied_head_by_head(device: Device, capacities: tuple[int, int]) -> None:
    source_values = np.random.default_rng(0).normal(size=(1, 2, capacities[0], 3)).astype(np.float16)
    source = device.allocate(source_values.shape, np.float16)
    target = device.allocate((1, 2, capacities[1], 3), np.float16)
    device.copy_in(source_values, source)
    device.copy_positions(source, target, 4)
    device.copy_positions(source, target, 0)
    back = np.empty(target.shape, np.float16)
    device.copy_out(target, back)
    np.testing.assert_array_equal(back[:, :, :4], source_values[:, :, :4])
    device.copy_positions(source, target, 2, source_start=1, target_start=3)
    device.copy_out(target, back)
    np.testing.assert_array_equal(back[:, :, 3:5], source_values[:, :, 1:3])
    np.testing.assert_array_equal(back[:, :, :3], source_values[:, :, :3])


def test_memory_is_aligned_and_exhaustion_is_explained() -> None:
    device = HostDevice()
    assert all(device.allocate((n,), np.int8).address % 64 == 0 for n in range(1, 9))
    with pytest.raises(GenerationError, match="not enough memory on host"):
        device.allocate((1 << 60,), np.float32)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_positions_that_were_never_written_take_no_memory() -> None:
    buffer = HostDevice().allocate((8, 8, 1024, 64), np.float32)
    before = resident_bytes()
    HostDevice().host_view(buffer)[:, :, 0] = 1
    assert resident_bytes() - before < buffer.nbytes / 4


@pytest.mark.skipif(sys.platform != "linux", reason="gives memory back on Linux only")
def test_what_lies_behind_a_position_is_given_back() -> None:
    device = HostDevice()
    buffer = device.allocate((2, 8, 1024, 64), np.float32)
    view = device.host_view(buffer)
    view[...] = 1
    before = resident_bytes()
    device.discard(buffer.rows(1, 1), 100)
    assert before - resident_bytes() > buffer.nbytes / 2 * 0.85
    assert (view[0] == 1).all()
    assert (view[1, :, :100] == 1).all()
    view[1, :, 100:] = 2
    assert (view[1, :, :100] == 1).all()


def test_a_model_runs_in_memory_that_the_host_cannot_reach(
    model_folder: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ModelFolder.load(model_folder("llama")[1])
    expected = _logits_along(Decoder(folder))
    monkeypatch.setattr("genai.runtime.session._device", lambda *_, **__: DetachedDevice())
    np.testing.assert_array_equal(_logits_along(Decoder(folder)), expected)


def resident_bytes() -> int:
    """Return how much of this process's memory is resident now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _logits_along(decoder: Decoder) -> np.ndarray:
    """Prefill, decode two rows, move one, grow, decode again with an idle row between, score."""
    cache: KVCache = decoder.cache
    assert isinstance(cache.shape, CacheShape)
    first, second = cache.acquire([1]), cache.acquire([2])
    assert first is not None
    assert second is not None
    prefill(decoder, first, [5, 6, 7, 8])
    prefill(decoder, second, [9])
    out = [decode(decoder, [3, 4])]
    third, fourth = cache.acquire([3]), cache.acquire([4])
    assert third is not None
    assert fourth is not None
    cache.release(third)
    cache.release(fourth)
    cache._buffers.move(second, fourth)
    out.append(decode(decoder, [4, 3], [first, second]))
    cache.reserve(cache.capacity + 1) or cache.reserve(decoder.context_length)
    out.append(decode(decoder, [1, 2], [first, second]))
    out.append(score(decoder, first, [1, 2, 3]))
    return np.concatenate(out)
