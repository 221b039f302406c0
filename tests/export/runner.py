"""A minimal runner of exported graphs for tests: shared key/value buffers, other states in two, one sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from genai.folder import ModelFolder

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int8)": np.int8}


class GraphRunner:
    """Runs one sequence through an unmodified graph, as a runtime would.

    Past and present keys and values are one buffer. A state without an axis of positions has one for each, which
    change places after every step, and begins as zeros.

    Args:
        folder: The model folder.
        capacity: Positions that the buffers hold.
    """

    def __init__(self, folder: ModelFolder | Path, capacity: int = 128) -> None:
        folder = folder if isinstance(folder, ModelFolder) else ModelFolder.load(folder)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = ort.InferenceSession(folder.model_path, options, providers=["CPUExecutionProvider"])
        self.buffers: dict[str, NDArray[np.generic]] = {}
        self.presents: dict[str, NDArray[np.generic]] = {}
        for value in self.session.get_inputs():
            if value.name.startswith("past_key_values."):
                dtype, sizes = _TYPES[value.type], value.shape[1:]
                if all(isinstance(size, int) for size in sizes):
                    self.buffers[value.name] = np.zeros((1, *sizes), dtype)
                    self.presents[value.name] = np.full((1, *sizes), np.nan, dtype)
                else:
                    shape = (1, *(size if isinstance(size, int) else capacity for size in sizes))
                    # Poison: an entry that is read before it was written must show.
                    poison = np.nan if issubclass(dtype, np.floating) else np.iinfo(dtype).max
                    self.buffers[value.name] = np.full(shape, poison, dtype)
        self.length = 0

    def feed(self, token_ids: list[int], *, keep: int | None = None) -> NDArray[np.float32]:
        """Append tokens and return the logits of the last `keep` of them (default: all): [keep, vocab_size]."""
        keep = len(token_ids) if keep is None else keep
        self.length += len(token_ids)
        feeds: dict[str, NDArray[np.generic]] = {
            "input_ids": np.asarray([token_ids], np.int64),
            "attention_mask": np.ones((1, self.length), np.int64),
        }
        binding = self.session.io_binding()
        values = []  # the binding keeps no reference
        for name, array in feeds.items():
            values.append(ort.OrtValue.ortvalue_from_numpy(array))
            binding.bind_ortvalue_input(name, values[-1])
        for name, array in self.buffers.items():
            target = self.presents.get(name, array)
            binding.bind_input(name, *_address_of(array))
            binding.bind_output(name.replace("past_key_values", "present"), *_address_of(target))
        if keep == 1:
            binding.bind_output("logits", "cpu")
            self.session.run_with_iobinding(binding)
            for name, present in self.presents.items():
                self.presents[name], self.buffers[name] = self.buffers[name], present
            return binding.get_outputs()[-1].numpy()[0]
        # IOBinding does not take an overridable initializer, so this path hands the buffers over and copies back.
        feeds |= {**self.buffers, "num_logits_to_keep": np.asarray([keep], np.int64)}
        names = ["logits", *(name.replace("past_key_values", "present") for name in self.buffers)]
        logits, *presents = self.session.run(names, feeds)
        for buffer, present in zip(self.buffers.values(), presents, strict=True):
            buffer[...] = present
        return logits[0]

    def greedy(self, prompt: list[int], num_tokens: int) -> list[int]:
        """Return the most likely continuation, token by token."""
        tokens, logits = [], self.feed(prompt, keep=1)
        for _ in range(num_tokens):
            tokens.append(int(logits[-1].argmax()))
            logits = self.feed(tokens[-1:], keep=1)
        return tokens


def _address_of(array: NDArray[np.generic]) -> tuple[str, int, type[np.generic], tuple[int, ...], int]:
    return ("cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def without_worst_positions(
    found: NDArray[np.float32], expected: NDArray[np.float32], *, share: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return logits [positions, vocab_size] without this share of the positions, those that differ most."""
    errors = np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
    kept = np.argsort(errors)[: round(len(errors) * (1 - share))]
    return found[kept], expected[kept]
