"""What Ollama's bodies tell of models: their names and sizes, and what their folders know."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from genai.folder import Manifest, ModelFolder
from genai.text import Tokenizer
from genai.tools import find_reasoning
from genai.wire.fields import BodyError, body_fields, drop_usual, refuse_rest, take
from genai.wire.ollama.durations import date

__all__ = ["ModelFacts", "loaded_body", "read_show_request", "show_body", "tag_body"]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model.

    Args:
        name: What requests call it.
        folder: Its folder.
    """

    name: str
    folder: ModelFolder

    @property
    def details(self) -> dict[str, Any]:
        """What kind of model it is."""
        manifest, family = self.folder.manifest, self.folder.decoder.model_type
        count = None if manifest is None else manifest.num_parameters
        return {
            "parent_model": "",
            "format": "onnx",
            "family": family,
            "families": [family],
            "parameter_size": "" if count is None else _short(count),
            "quantization_level": (_level(manifest) if manifest is not None else self.folder.variant) or "",
        }

    @property
    def digest(self) -> str:
        """A digest of the digests of its files, or, where nothing has those, of where they lie."""
        manifest = self.folder.manifest
        known = (
            str(self.folder.path) if manifest is None else json.dumps(dict(manifest.files), sort_keys=True)
        )
        return hashlib.sha256(known.encode()).hexdigest()

    @property
    def num_bytes(self) -> int:
        """Bytes of its ONNX file and weights."""
        model = self.folder.model_path
        return sum(file.stat().st_size for file in model.parent.glob(f"{model.name}*"))

    @property
    def modified(self) -> str:
        """When it was made."""
        return datetime.fromtimestamp(self.folder.model_path.stat().st_mtime, UTC).isoformat()


def tag_body(model: ModelFacts) -> dict[str, Any]:
    """Return what a list tells of a model."""
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": model.modified,
        "size": model.num_bytes,
        "digest": model.digest,
        "details": model.details,
    }


def loaded_body(
    model: ModelFacts, *, expires: float, context_length: int, is_on_device: bool
) -> dict[str, Any]:
    """Return what is told of a model in memory.

    Args:
        model: The model.
        expires: When it goes if nobody asks for it, in seconds since 1970.
        context_length: Most tokens of a sequence.
        is_on_device: Whether it is in an accelerator's memory.
    """
    return {
        "name": model.name,
        "model": model.name,
        "size": model.num_bytes,
        "digest": model.digest,
        "details": model.details,
        "expires_at": date(expires),
        "size_vram": model.num_bytes if is_on_device else 0,
        "context_length": context_length,
    }


def read_show_request(body: Any) -> str:
    """Return the model that a body asks about, as `model` or, as clients did before, `name`.

    Raises:
        BodyError: A field is missing, unknown, or not of the type that it should be.
    """
    fields = body_fields(body)
    drop_usual(fields, {"verbose": (False,)})
    older = take(fields, "name", str, None)
    model: str | None = take(fields, "model", str, older)
    refuse_rest(fields, known=("model", "verbose"))
    if not model:
        raise BodyError("model must be the name of a model", "model")
    return model


def show_body(model: ModelFacts, tokenizer: Tokenizer | None) -> dict[str, Any]:
    """Return all that is told of a model.

    Args:
        model: The model.
        tokenizer: Its tokenizer, if it has one.
    """
    folder, manifest = model.folder, model.folder.manifest
    decoder = folder.decoder
    family = decoder.model_type
    known = None if tokenizer is None else tokenizer.chat_template
    template = "" if known is None else known.source
    capabilities = ["completion", "embedding"]
    if template:  # tools are told in words where it knows none
        capabilities.append("tools")
    if find_reasoning(template) is not None:
        capabilities.append("thinking")
    info: dict[str, Any] = {
        "general.architecture": family,
        "general.parameter_count": None if manifest is None else manifest.num_parameters,
        f"{family}.context_length": decoder.context_length,
        f"{family}.embedding_length": decoder.hidden_size,
        f"{family}.block_count": decoder.num_layers,
        f"{family}.attention.head_count": decoder.num_heads,
        f"{family}.attention.head_count_kv": decoder.num_kv_heads,
        f"{family}.vocab_size": decoder.vocab_size,
    }
    return {
        "modified_at": model.modified,
        "license": (manifest.license if manifest is not None else None) or "",
        "template": template,
        "parameters": _parameters(folder),
        "details": model.details,
        "model_info": {name: value for name, value in info.items() if value is not None},
        "capabilities": capabilities,
    }


def _parameters(folder: ModelFolder) -> str:
    """Return the model's own defaults, one a line, by Ollama's names."""
    generation = folder.generation
    lines = [f"num_ctx {folder.decoder.context_length}"]
    if generation.is_sampling:
        lines += [
            f"{name} {getattr(generation, name):g}" for name in ("temperature", "top_k", "top_p", "min_p")
        ]
    else:
        lines.append("temperature 0")
    if generation.repetition_penalty != 1:
        lines.append(f"repeat_penalty {generation.repetition_penalty:g}")
    return "\n".join([*lines, *(f"stop {json.dumps(text)}" for text in generation.stop)])


def _level(manifest: Manifest) -> str:
    """Return the precision of a model's weights; where they were kept, the type that most of them had."""
    kept = manifest.exporter_notes.get("quantized_weights", {}).get("carried_over", {})
    if manifest.precision != "keep" or not kept:
        return manifest.precision
    return str(max(kept, key=kept.__getitem__)).removeprefix("gguf-").upper()


def _short(count: int) -> str:
    """Return a number of parameters in few digits.

    >>> _short(134_515_008), _short(7_241_732_096)
    ('134.5M', '7.2B')
    """
    for size, unit in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)
