"""Which ONNX file of a folder or repository is the decoder, in which variants it is there, and what belongs to it.

The layouts are Optimum's (`model.onnx`, or older `decoder_model_merged.onnx` and `decoder_with_past_model.onnx`,
beside config.json) and transformers.js' (the same files in `onnx/`, with a suffix per variant:
`onnx/model_q4f16.onnx`). It looks at names alone, so that it serves a listing as well as a disk.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

from genai.config import provider_name
from genai.errors import ModelFolderError, OptionError, did_you_mean

__all__ = ["NO_CACHE", "GraphFile", "check_is_decoder", "choose_graph", "companions_of", "find_graphs"]

_STEMS = ("model", "decoder_model_merged", "decoder_with_past_model")
"""What a decoder with a cache is called, best first; `decoder_model` has none, and runs nowhere."""

NO_CACHE = (
    "decoder_model.onnx has no cache of keys and values, so that every token would cost a whole prompt; export the model "
    'with Optimum\'s task "text-generation-with-past"'
)

_FOLDERS = ("", "onnx/")
_GRAPH = re.compile(
    rf"(?P<folder>(?:onnx/)?)(?P<stem>{'|'.join(_STEMS)})(?:_(?P<suffix>[A-Za-z0-9]+))?\.onnx"
)

_ALIASES = {"quantized": "q8"}
"""Suffixes for which transformers.js has another name."""

_PREFERRED_ON_CPU = ("q4", "q8", "int8", "uint8", "fp32", "bnb4")
_PREFERRED_ON_GPU = ("q4f16", "fp16", "q4", "fp32", "bnb4", "q8", "int8", "uint8")
_ON_GPU = frozenset({"cuda", "rocm", "directml"})
_LAST = ("q4f16", "fp16")
"""Half precision, which processors convert at every operator: taken only where there is nothing else."""

_NOT_DATA = (
    *(".gif", ".gitattributes", ".jpeg", ".jpg", ".md", ".png", ".py", ".svg", ".txt"),
    *(".bin", ".gguf", ".h5", ".jinja", ".json", ".model", ".msgpack", ".onnx", ".ort", ".ot", ".pt", ".pth"),
    *(".safetensors", ".tflite", ".zip"),
)


@dataclass(frozen=True, slots=True)
class GraphFile:
    """An ONNX file that holds a whole decoder.

    Args:
        path: Its path within the folder, with forward slashes.
        variant: What transformers.js calls its precision: "fp32" where its name has no suffix.
    """

    path: str
    variant: str

    @property
    def folder(self) -> str:
        """The folder that it lies in, "" for the model folder itself, else with a slash at the end."""
        return self.path[: self.path.rfind("/") + 1]

    @property
    def max_positions(self) -> int | None:
        """Most new tokens per sequence of one run; `None` is any number.

        The graph with a past of Optimum's older pairs was traced with one token: it takes more, and hides nothing of them
        from one another.
        """
        return 1 if PurePosixPath(self.path).name.startswith("decoder_with_past_model") else None

    @property
    def _rank(self) -> tuple[int, int]:
        stem = PurePosixPath(self.path).stem
        known = max((name for name in _STEMS if stem.startswith(name)), key=len)
        return _STEMS.index(known), _FOLDERS.index(self.folder)


def find_graphs(names: Collection[str]) -> tuple[GraphFile, ...]:
    """Return the decoders among a folder's files, one per variant.

    Args:
        names: Paths within the folder, with forward slashes.

    >>> [graph.path for graph in find_graphs(["onnx/model.onnx", "onnx/model_q4.onnx", "onnx/decoder_model.onnx"])]
    ['onnx/model.onnx', 'onnx/model_q4.onnx']
    """
    best: dict[str, GraphFile] = {}
    for match in filter(None, map(_GRAPH.fullmatch, sorted(names))):
        suffix = match["suffix"] or "fp32"
        graph = GraphFile(match[0], _ALIASES.get(suffix, suffix))
        if graph.variant not in best or graph._rank < best[graph.variant]._rank:
            best[graph.variant] = graph
    return tuple(best.values())


def choose_graph(
    graphs: Collection[GraphFile], *, variant: str | None = None, provider: str = "cpu", source: str
) -> GraphFile:
    """Return the graph of a variant, or the one that suits a provider best.

    Args:
        graphs: What there is; not empty.
        variant: "fp32", "fp16", "q4", "q4f16", "int8", "uint8", "q8" (or "quantized"), "bnb4", or another suffix.
        provider: The execution provider that is to run it.
        source: The folder's or repository's name, for messages.

    Raises:
        OptionError: There is no such variant; the message names those that there are.
    """
    by_variant = {graph.variant: graph for graph in graphs}
    if variant is not None:
        wanted = _ALIASES.get(variant, variant)
        if wanted not in by_variant:
            raise OptionError(
                f'{source} has no variant "{variant}"; it has {", ".join(sorted(by_variant))}.'
                f"{did_you_mean(variant, by_variant)}"
            )
        return by_variant[wanted]
    preferred = _PREFERRED_ON_GPU if provider_name(provider) in _ON_GPU else _PREFERRED_ON_CPU
    others = sorted(by_variant.keys() - {*preferred, *_LAST})
    return next(by_variant[name] for name in (*preferred, *others, *_LAST) if name in by_variant)


def companions_of(graph: GraphFile, names: Collection[str]) -> list[str]:
    """Return the files that hold a graph's weights, by their names alone.

    They are called after the graph (`model_q4.onnx_data`, `model_q4.onnx_data_1`, `model.onnx.data`). Where no file is,
    whatever lies beside the graph and is neither another graph's nor a known kind of file may hold them: some
    exporters write a file per tensor.
    """
    beside = [
        name for name in names if name.startswith(graph.folder) and "/" not in name.removeprefix(graph.folder)
    ]
    own = sorted(name for name in beside if re.fullmatch(rf"{re.escape(graph.path)}[._]data(_\d+)?", name))
    if own:
        return own
    return sorted(name for name in beside if ".onnx" not in name and not name.lower().endswith(_NOT_DATA))


def check_is_decoder(names: Collection[str], *, source: str) -> None:
    """See that a folder of ONNX files is not that of an encoder and a decoder, or of a model with further parts.

    Raises:
        ModelFolderError: It is; the message names the parts.
    """
    stems = {PurePosixPath(name).stem for name in names if name.endswith(".onnx")}
    parts = sorted(
        stem
        for stem in stems
        if stem.startswith(("encoder_model", "embed_tokens", "vision_encoder", "audio_encoder"))
    )
    if parts:
        raise ModelFolderError(
            f"{source} is more than a text decoder (it has {', '.join(parts)}), and genai runs text decoders"
        )
