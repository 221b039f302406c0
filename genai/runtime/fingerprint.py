"""What tells one model from another: a digest of the graphs that run and of their weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from genai.folder import ModelFolder
from genai.folder.staging import sha256_of
from genai.runtime.adapt import external_locations

__all__ = ["fingerprint_of"]


def fingerprint_of(folder: ModelFolder) -> str:
    """Return a digest of the ONNX file that a folder runs, or of those of its stages, with their weights, in hexadecimal.

    A folder may have several that make different models (`variant`), and whatever names for weights. A manifest has the
    digests of the files; where there is none, they are read.
    """
    import hashlib  # with all of OpenSSL, which generating does not need

    known = folder.manifest.files if folder.manifest else {}
    graphs = [folder.path / stage.filename for stage in folder.decoder.stages] or [folder.model_path]
    files = dict.fromkeys(file for graph in graphs for file in (graph, *_weights_of(graph)))
    names = [file.relative_to(folder.path).as_posix() for file in files]
    digests = [known.get(name) or sha256_of(folder.path / name) for name in names]
    return hashlib.sha256(repr(list(zip(names, digests, strict=True))).encode()).hexdigest()


def _weights_of(graph: Path) -> Iterator[Path]:
    import onnx

    model = onnx.load(graph, load_external_data=False)
    for name in sorted({entry.value for entry in external_locations(model.graph)}):
        yield graph.parent / name
