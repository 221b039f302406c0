"""Runs graphs with a growing cache, and the same graphs with a shared one, for comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

Logits = NDArray[np.float32]


def make_session(model: ir.Model, folder: Path, name: str = "model") -> ort.InferenceSession:
    """Save a model with its weights beside it, and load it."""
    ir.save(model, folder / f"{name}.onnx", external_data=f"{name}.onnx.data")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(folder / f"{name}.onnx", options, providers=["CPUExecutionProvider"])


def run_growing(session: ort.InferenceSession, tokens: Sequence[int], pieces: Sequence[int]) -> Logits:
    """Return the logits of every position, [tokens, vocab_size], run in pieces of these lengths."""
    cache = _empty_cache(session, 0)
    names = [value.name for value in session.get_outputs()]
    position, logits = 0, []
    for length in pieces:
        feeds = {
            "input_ids": np.asarray([tokens[position : position + length]], np.int64),
            "attention_mask": np.ones((1, position + length), np.int64),
            "position_ids": np.arange(position, position + length)[None],
            **cache,
        }
        results = dict(zip(names, session.run(None, _wanted(session, feeds)), strict=True))
        cache = {name: results[name.replace("past_key_values", "present")] for name in cache}
        logits.append(results["logits"][0])
        position += length
    return np.concatenate(logits)


class SharedRun:
    """Runs a batch of rows over buffers that past and present share, each row of its own length.

    Args:
        session: A graph whose attention shares its cache.
        num_rows: How many rows.
        capacity: How many positions a row's buffers hold.
    """

    def __init__(self, session: ort.InferenceSession, num_rows: int = 1, capacity: int = 64) -> None:
        self.session = session
        # Poison: an entry that is read before it was written must show.
        self.buffers = {
            name: np.repeat(np.full_like(array, np.nan), num_rows, axis=0)
            for name, array in _empty_cache(session, capacity).items()
        }
        self.lengths = np.zeros(num_rows, np.int64)

    def feed(self, rows: Sequence[Sequence[int]], *, num_logits: int | None = None) -> Logits:
        """Append tokens to every row, short ones padded on the right: [rows, positions, vocab_size]."""
        longest = max(len(row) for row in rows)
        self.lengths += [len(row) for row in rows]
        feeds: dict[str, NDArray[np.generic]] = {
            "input_ids": np.asarray([[*row, *[5] * (longest - len(row))] for row in rows], np.int64),
            "attention_mask": (np.arange(self.lengths.max()) < self.lengths[:, None]).astype(np.int64),
        }
        if num_logits is not None:
            return self._feed_copies(feeds | {"num_logits_to_keep": np.asarray([num_logits], np.int64)})
        binding, values = self.session.io_binding(), []
        for name, array in _wanted(self.session, feeds).items():
            values.append(ort.OrtValue.ortvalue_from_numpy(array))
            binding.bind_ortvalue_input(name, values[-1])
        for name, buffer in self.buffers.items():
            place = ("cpu", 0, buffer.dtype.type, buffer.shape, buffer.ctypes.data)
            binding.bind_input(name, *place)
            binding.bind_output(name.replace("past_key_values", "present"), *place)
        binding.bind_output("logits", "cpu")
        self.session.run_with_iobinding(binding)
        return binding.get_outputs()[-1].numpy()

    def _feed_copies(self, feeds: dict[str, NDArray[np.generic]]) -> Logits:
        """Run without bindings, which take no overridable initializer; the buffers are handed over and back."""
        names = ["logits", *(name.replace("past_key_values", "present") for name in self.buffers)]
        logits, *presents = self.session.run(names, _wanted(self.session, feeds | self.buffers))
        for buffer, present in zip(self.buffers.values(), presents, strict=True):
            buffer[...] = present
        return logits


def run_shared(session: ort.InferenceSession, tokens: Sequence[int], pieces: Sequence[int]) -> Logits:
    """Return the logits that one row's pieces give, one behind the other: [positions, vocab_size]."""
    run, position, logits = SharedRun(session), 0, []
    for length in pieces:
        logits.append(run.feed([tokens[position : position + length]])[0])
        position += length
    return np.concatenate(logits)


def _empty_cache(session: ort.InferenceSession, length: int) -> dict[str, NDArray[np.generic]]:
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    return {
        value.name: np.zeros((1, int(value.shape[1]), length, int(value.shape[3])), types[value.type])
        for value in session.get_inputs()
        if value.name.startswith("past_key_values.")
    }


def _wanted(
    session: ort.InferenceSession, feeds: Mapping[str, NDArray[np.generic]]
) -> dict[str, NDArray[np.generic]]:
    names = {value.name for value in session.get_inputs()}
    names |= {value.name for value in session.get_overridable_initializers()}
    return {name: array for name, array in feeds.items() if name in names}
