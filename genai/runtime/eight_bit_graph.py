"""Whether prompts and large batches are computed in 8 bits, by a second graph over the same cache, and what that graph is.

One token is multiplied as fast as weights come from memory, so it wants few bits a weight. A prompt is multiplied as fast as
the processor computes, and it computes fastest in 8 bits (`adapt/eight_bit_products.py`); a batch is between the two
(`batch_decoding.py`). Having both takes a byte for every weight more.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace

from genai.config import SHARE_OF_FREE_MEMORY
from genai.graph.names import LOGITS
from genai.runtime.adapt import GraphFacts, cut_early, give_hidden_states, to_eight_bit_products
from genai.runtime.adapt.graph import remove_unused
from genai.runtime.adapted_graph import AdaptedGraph
from genai.runtime.eight_bit_weights import with_eight_bit_weights
from genai.runtime.providers.hardware import free_host_bytes

__all__ = ["compute_in_eight_bits", "may_compute_in_eight_bits"]

logger = logging.getLogger("genai.runtime")

_LEAST_BYTES = 16 << 20
"""Of weights: what fewer take of a processor is not worth a second graph."""
_FREE_IF_UNKNOWN = 4 << 30


def may_compute_in_eight_bits(facts: GraphFacts, optimize_for: str) -> bool:
    """Whether a second graph is worth a look: not where one graph is asked for, or where it has little to multiply by."""
    is_enough = facts.num_block_weights >= _LEAST_BYTES
    return optimize_for == "speed" or (optimize_for == "auto" and is_enough)


@contextlib.contextmanager
def compute_in_eight_bits(
    adapted: AdaptedGraph, optimize_for: str, *, hidden_size: int | None
) -> Iterator[AdaptedGraph | None]:
    """Give a graph that computes in 8 bits, until a session is made of it.

    Args:
        adapted: The graph for everything, which is changed.
        optimize_for: "speed", or "auto" for where it is worth the memory that it takes.
        hidden_size: Of the hidden states that it gives in the place of logits; `None` if it gives nothing.

    Yields:
        The graph, whose new weights are there as long; `None` if one graph is to do all.

    Raises:
        OSError: The weights cannot be read or written.
        ValueError: The folder's weights and temporary files are on different drives.
    """
    model = adapted.model
    if hidden_size is None:
        logits = next(output for output in model.graph.output if output.name == LOGITS)
        model.graph.output.remove(logits)
        remove_unused(model.graph)
    else:
        cut_early(model.graph)
        give_hidden_states(model.graph, hidden_size=hidden_size)
    matrices = to_eight_bit_products(model)
    if (reason := _hindrance(sum(matrix.nbytes for matrix in matrices), optimize_for)) is not None:
        log = logger.warning if optimize_for == "speed" else logger.debug
        log("one graph reads prompts and decodes: %s", reason)
        yield None
        return
    with with_eight_bit_weights(model, matrices, weights=adapted.weights) as root:
        yield AdaptedGraph(model, replace(adapted.facts, in_eight_bits=True), root)


def _hindrance(num_bytes: int, optimize_for: str) -> str | None:
    """Say why weights of so many bytes are not to be made; `None` if they are."""
    if not num_bytes:
        return "it has no product of quantized weights and activations of 8 bits"
    if optimize_for == "auto" and num_bytes < _LEAST_BYTES:
        return "it is small"
    free = free_host_bytes()
    allowed = SHARE_OF_FREE_MEMORY * (_FREE_IF_UNKNOWN if free is None else free)
    if optimize_for == "auto" and num_bytes > allowed:
        return f"{num_bytes / 2**20:,.0f} MiB more are much of the memory that is free"
    return None
