"""llama.cpp's worker, through the C functions that llama-cpp-python binds.

Its class `Llama` copies all logits of a step and takes one sequence, which is not llama.cpp's cost; it only scores here.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping, Sequence
from typing import Any

import llama_cpp
import numpy as np
from serving import Generation, mean_nll, serve

FILE = "model.gguf"
BATCH_TOKENS = 2048
"""Most tokens of one call, llama.cpp's default."""


class LlamaCppTool:
    """The option of a conversion is `type`: Q4_0, Q4_K_M, Q8_0 …."""

    __version__ = llama_cpp.__version__

    def convert(self, source: str, target: str, options: Mapping[str, Any]) -> None:
        """Quantize a GGUF file of floats."""
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{options['type']}")
        code = llama_cpp.llama_model_quantize(
            source.encode(), f"{target}/{FILE}".encode(), ctypes.byref(params)
        )
        if code:
            raise RuntimeError(f"llama_model_quantize failed with {code}")

    def load(self, model: str, *, threads: int, max_tokens: int) -> LlamaCppEngine:
        """Open a file, and a context for one sequence."""
        return LlamaCppEngine(f"{model}/{FILE}", threads=threads, max_tokens=max_tokens)

    def score(self, model: str, texts: Sequence[Sequence[int]], options: Mapping[str, Any]) -> list[float]:
        """Score by prompts."""
        opened = llama_cpp.Llama(
            f"{model}/{FILE}", n_ctx=max(map(len, texts)), n_batch=512, logits_all=True, verbose=False
        )
        means = []
        for text in texts:
            opened.reset()
            opened.eval(text)
            means.append(mean_nll(opened.scores, text))
        return means


class LlamaCppEngine:
    """A model, with a context for one sequence and one for several, whose caches are not in each other's way."""

    def __init__(self, path: str, *, threads: int, max_tokens: int) -> None:
        llama_cpp.llama_backend_init()
        self._threads = threads
        self._model = llama_cpp.llama_model_load_from_file(
            path.encode(), llama_cpp.llama_model_default_params()
        )
        if not self._model:
            raise RuntimeError(f"{path} could not be loaded")
        vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._vocab_size = llama_cpp.llama_vocab_n_tokens(vocab)
        self._batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._contexts = {1: self._make_context(1, max_tokens)}

    def generate(self, prompts: np.ndarray, new_tokens: int) -> Generation:
        """Generate, all sequences in one batch."""
        count, length = prompts.shape
        if count not in self._contexts:
            self._contexts[count] = self._make_context(count, length + new_tokens)
        context = self._contexts[count]
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        step = BATCH_TOKENS // count
        for start in range(0, length, step):
            tokens = self._decode(context, prompts[:, start : start + step], start)
        first_at = time.perf_counter()
        for position in range(length, length + new_tokens - 1):
            tokens = self._decode(context, tokens[:, None], position)
        return Generation(first_at, count * new_tokens)

    def _make_context(self, num_sequences: int, max_tokens: int) -> Any:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = num_sequences * (-(-max_tokens // 256) * 256)  # of each sequence a multiple of 256
        params.n_seq_max = num_sequences
        params.n_batch = BATCH_TOKENS
        params.n_threads = params.n_threads_batch = self._threads
        context = llama_cpp.llama_init_from_model(self._model, params)
        if not context:
            raise RuntimeError("no context could be made")
        return context

    def _decode(self, context: Any, token_ids: np.ndarray, position: int) -> np.ndarray:
        """Append tokens [sequences, count] at a position, and return the likeliest next ones, [sequences]."""
        sequences, count = token_ids.shape
        batch, total = self._batch, token_ids.size
        batch.n_tokens = total
        np.ctypeslib.as_array(batch.token, (total,))[:] = token_ids.ravel()
        np.ctypeslib.as_array(batch.pos, (total,))[:] = np.tile(
            np.arange(position, position + count), sequences
        )
        np.ctypeslib.as_array(batch.n_seq_id, (total,))[:] = 1
        for index in range(total):
            batch.seq_id[index][0] = index // count
        last = np.arange(count - 1, total, count)
        wanted = np.ctypeslib.as_array(batch.logits, (total,))
        wanted[:] = 0
        wanted[last] = 1
        if code := llama_cpp.llama_decode(context, batch):
            raise RuntimeError(f"llama_decode failed with {code}")
        rows = [llama_cpp.llama_get_logits_ith(context, int(index)) for index in last]
        return np.array([np.ctypeslib.as_array(row, (self._vocab_size,)).argmax() for row in rows])


if __name__ == "__main__":
    serve(LlamaCppTool())
