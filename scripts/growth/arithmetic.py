"""What a model's arithmetic says of its cost: bytes to read, operations to do, bytes to hold.

It says how much more work one size is than another; what a unit of work takes is measured, at the smallest size.
"""

from __future__ import annotations

from dataclasses import dataclass

from genai.benchmark.work import CacheRead, Work, work_of
from genai.evaluation.graphs import read_graphs
from genai.folder import ModelFolder

__all__ = ["Arithmetic"]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A model's arithmetic.

    Args:
        work: What a token asks of the graph.
        cache: What of the KV cache a token reads.
        attention_operations: Operations of all layers' attention for one pair of positions.
        folder_bytes: Bytes of the ONNX files and weights.
    """

    work: Work
    cache: CacheRead
    attention_operations: int
    folder_bytes: int

    @classmethod
    def of(cls, folder: ModelFolder) -> Arithmetic:
        """Read it off the folder's graphs.

        Raises:
            ValueError: The graphs do not tell.
        """
        graphs = read_graphs(folder)
        work = work_of(graphs, folder.decoder.stages)
        if work is None or work.cache is None:
            raise ValueError(f"{folder.path}: the graph does not tell what a token reads")
        decoder = folder.decoder
        # A multiplication and an addition, for the scores and for the values.
        operations = 4 * decoder.num_layers * decoder.num_heads * decoder.head_dim
        return cls(work, work.cache, operations, graphs.num_bytes)

    def step_bytes(self, past: int, *, rows: int = 1) -> int:
        """Return what a decoding step reads: the weights once, and every row's keys and values."""
        return self.work.weight_bytes + rows * self.cache.num_bytes(past)

    def step_operations(self, rows: int) -> int:
        """Return the operations of a decoding step's products by weights."""
        return 2 * rows * self.work.macs

    def prompt_operations(self, length: int) -> float:
        """Return the operations of a prompt: products by weights, the head's once, and attention's, causal."""
        head = self.work.head_int8_macs + self.work.head_float_macs
        products = 2 * (length * (self.work.macs - head) + head)
        return products + self.attention_operations * self._pairs(length)

    def held_bytes(self, context: int, slots: int) -> int:
        """Return what the KV cache holds for so many sequences."""
        every_position = sum(self.cache.windows.values())
        return slots * (2 * self.cache.state_bytes + context * every_position)

    def _pairs(self, length: int) -> float:
        """Return how many pairs of positions attention looks at, the mean over the layers."""
        every_position = sum(self.cache.windows.values())
        pairs = 0.0
        for window, num_bytes in self.cache.windows.items():
            full = min(length, window or length)
            seen = full * (full + 1) / 2 + (length - full) * full
            pairs += seen * num_bytes / every_position
        return pairs
