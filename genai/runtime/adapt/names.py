"""Inputs and outputs under the names that genai uses: the folder's configuration says what others are, or custom does."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import GraphProto

from genai.errors import ModelFolderError
from genai.folder import GraphNames
from genai.graph.names import NUM_LOGITS_TO_KEEP, PAST_SEQUENCE_LENGTH, TOTAL_SEQUENCE_LENGTH
from genai.runtime.adapt.graph import rename_values

__all__ = ["rename_ports"]

SYNONYMS: Mapping[str, str] = {
    "logits_to_keep": NUM_LOGITS_TO_KEEP,
    "past_seq_len": PAST_SEQUENCE_LENGTH,
    "total_seq_len": TOTAL_SEQUENCE_LENGTH,
    "total_seq_lens": TOTAL_SEQUENCE_LENGTH,
}
"""Names that other exporters write for the same thing, without saying so in a configuration."""


def rename_ports(graph: GraphProto, names: GraphNames) -> None:
    """Give the graph's inputs and outputs their canonical names, in place.

    Raises:
        ModelFolderError: Two of them would have the same name.
    """
    ports = [value.name for value in (*graph.input, *graph.output)]
    renamed = {name: SYNONYMS[name] for name in ports if name in SYNONYMS} | names.canonical(ports)
    for old, new in renamed.items():
        if new in ports and new not in renamed:
            raise ModelFolderError(
                f"the graph has both {old} and {new}, which genai_config.json says are the same: correct its names"
            )
    taken = {value for node in graph.node for value in node.output} | {
        value.name for value in graph.initializer
    }
    inner = {new: f"{new}.inner" for new in renamed.values() if new in taken and new not in ports}
    rename_values(graph, inner)
    rename_values(graph, renamed)
