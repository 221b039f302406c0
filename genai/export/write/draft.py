"""What an exporter hands over to be written: a graph, and what the folder's small files will say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genai.errors import OptionError
from genai.export.write.graph_writer import WritableGraph
from genai.folder import DecoderConfig
from genai.folder.adapter_files import LowRank

__all__ = ["Draft", "check_context"]


@dataclass(frozen=True, slots=True)
class Draft:
    """A model folder before it is written.

    Args:
        graph: The graph.
        quantization: What the manifest says of it; empty if nothing is quantized.
        decoder: The content of genai_config.json.
        opset: ONNX opset by domain.
        exporter: "native" or "transformers".
        notes: What the manifest says of the choice and the work of the exporter.
        versions: Versions of the exporter's own tools.
        attributes: Facts about the graph that the runtime needs and genai_config.json has no key for.
        num_parameters: The checkpoint's, if the exporter knows it.
        adapters: What each adapter beside the model adds to the graph's products.
    """

    graph: WritableGraph
    quantization: Mapping[str, Any]
    decoder: DecoderConfig
    opset: Mapping[str, int]
    exporter: str
    notes: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    num_parameters: int | None = None
    adapters: Mapping[str, Mapping[str, LowRank]] = field(default_factory=dict)


def check_context(max_context: int, longest: int, *, reason: str | None = None) -> None:
    """See that a folder can be made for sequences of at most this length.

    Args:
        max_context: The length that was asked for.
        longest: The checkpoint's own limit.
        reason: Why that is the limit, if it is not what config.json says.

    Raises:
        OptionError: It is beyond the limit.
    """
    if max_context > longest:
        raise OptionError(
            f"max_context must be at most {longest}, the checkpoint's longest sequence, not {max_context}"
            f"{f': {reason}' if reason else ''}"
        )
