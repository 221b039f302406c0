"""What tells one model from another: a digest of its graphs and weights."""

from __future__ import annotations

from genai.folder.model_folder import ModelFolder
from genai.folder.staging import sha256_of

__all__ = ["fingerprint_of"]


def fingerprint_of(folder: ModelFolder) -> str:
    """Return a digest of a folder's ONNX files, those of weights included, in hexadecimal digits.

    A manifest has the digests of the files; where there is none, they are read.
    """
    import hashlib  # with all of OpenSSL, which generating does not need

    known = folder.manifest.files if folder.manifest else {}
    names = sorted(path.name for path in folder.model_path.parent.iterdir() if ".onnx" in path.name)
    digests = [known.get(name) or sha256_of(folder.model_path.parent / name) for name in names]
    return hashlib.sha256(repr(list(zip(names, digests, strict=True))).encode()).hexdigest()
