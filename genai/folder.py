"""The model folder on disk: its files, genai_config.json, manifest.json, and how it is written whole or not at all.

This is the only meeting point of export and runtime. It knows the layout that onnxruntime-genai reads and writes;
it knows nothing of graphs, sessions or tokenizers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from genai.config import GenerationConfig
from genai.errors import ExportError, ModelFolderError, OptionError

__all__ = [
    "CONFIG_FILE",
    "GENERATION_CONFIG_FILE",
    "MANIFEST_FILE",
    "DecoderConfig",
    "Manifest",
    "ModelFolder",
    "check_target",
    "sha256_of",
    "staged_folder",
]

CONFIG_FILE = "genai_config.json"
MANIFEST_FILE = "manifest.json"
GENERATION_CONFIG_FILE = "generation_config.json"


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """What genai_config.json says of a decoder, in the terms that genai uses.

    Args:
        model_type: Hugging Face's model_type ("llama", "phi3", ...).
        filename: The ONNX file within the folder.
        vocab_size: Number of logits per position.
        context_length: Most tokens (prompt and generated) that a sequence can have.
        hidden_size: Width of the residual stream.
        num_layers: Number of layers that have a key and a value cache.
        num_heads: Query heads per layer.
        num_kv_heads: Key/value heads per layer.
        head_dim: Width of one head.
        eos_token_ids: Ids that end a sequence.
        bos_token_id: Id that begins a sequence, if the model has one.
        pad_token_id: Id for padding; never generated or relied on.
        search: Search defaults, by onnxruntime-genai's names.
        session_options: ONNX Runtime session options as onnxruntime-genai writes them.
    """

    model_type: str
    filename: str
    vocab_size: int
    context_length: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    eos_token_ids: tuple[int, ...] = ()
    bos_token_id: int | None = None
    pad_token_id: int | None = None
    search: Mapping[str, Any] = field(default_factory=dict)
    session_options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the content of a genai_config.json that onnxruntime-genai accepts."""
        decoder: dict[str, Any] = {
            "session_options": {
                "log_id": "onnxruntime-genai",
                "provider_options": [],
                **self.session_options,
            },
            "filename": self.filename,
            "head_size": self.head_dim,
            "hidden_size": self.hidden_size,
            "inputs": {
                "input_ids": "input_ids",
                "attention_mask": "attention_mask",
                "past_key_names": "past_key_values.%d.key",
                "past_value_names": "past_key_values.%d.value",
            },
            "outputs": {
                "logits": "logits",
                "present_key_names": "present.%d.key",
                "present_value_names": "present.%d.value",
            },
            "num_attention_heads": self.num_heads,
            "num_hidden_layers": self.num_layers,
            "num_key_value_heads": self.num_kv_heads,
        }
        eos = list(self.eos_token_ids)
        bos = self.bos_token_id if self.bos_token_id is not None else (eos[0] if eos else 0)
        pad = self.pad_token_id if self.pad_token_id is not None else (eos[0] if eos else bos)
        return {
            "model": {
                "bos_token_id": bos,
                "context_length": self.context_length,
                "decoder": decoder,
                "eos_token_id": eos[0] if len(eos) == 1 else eos,
                "pad_token_id": pad,
                "type": self.model_type,
                "vocab_size": self.vocab_size,
            },
            "search": {
                "do_sample": False,
                "max_length": self.context_length,
                "num_beams": 1,
                "past_present_share_buffer": True,
                **self.search,
            },
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read a genai_config.json, whoever wrote it.

        Raises:
            ModelFolderError: A key that generation cannot do without is missing.
        """
        try:
            model = values["model"]
            decoder = model["decoder"]
            eos = model.get("eos_token_id", ())
            return cls(
                model_type=model["type"],
                filename=decoder["filename"],
                vocab_size=model["vocab_size"],
                context_length=model["context_length"],
                hidden_size=decoder["hidden_size"],
                num_layers=decoder["num_hidden_layers"],
                num_heads=decoder["num_attention_heads"],
                num_kv_heads=decoder["num_key_value_heads"],
                head_dim=decoder["head_size"],
                eos_token_ids=(eos,) if isinstance(eos, int) else tuple(eos or ()),
                bos_token_id=model.get("bos_token_id"),
                pad_token_id=model.get("pad_token_id"),
                search=values.get("search", {}),
                session_options=decoder.get("session_options", {}),
            )
        except (KeyError, TypeError) as error:
            raise ModelFolderError(
                f"{CONFIG_FILE}: the key {error} is missing or has the wrong type; export the model again"
            ) from error


@dataclass(frozen=True, slots=True)
class Manifest:
    """What manifest.json says of a folder: where it came from and what is in it.

    Args:
        source: Hub repository or path of the checkpoint.
        revision: Commit of the repository, if known.
        architecture: The checkpoint's architecture, as its config.json names it.
        precision: "fp32", "fp16", "bf16", "int8" or "int4".
        quantization: The scheme and its parameters; empty if not quantized.
        opset: ONNX opset by domain.
        versions: Versions of the tools that made the folder.
        created: Date and time in ISO 8601, UTC.
        files: sha256 by file name, of every other file of the folder.
        attributes: Facts about the graph that the runtime needs and genai_config.json has no key for.
        validation: Results of `genai validate`, empty until it ran.
    """

    source: str
    revision: str | None
    architecture: str
    precision: str
    quantization: Mapping[str, Any]
    opset: Mapping[str, int]
    versions: Mapping[str, str]
    created: str
    files: Mapping[str, str]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the content of a manifest.json."""
        return {"format": 1, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read a manifest.json.

        Raises:
            ModelFolderError: It lacks keys that every manifest has.
        """
        known = {k: v for k, v in values.items() if k in cls.__dataclass_fields__}
        try:
            return cls(**known)
        except TypeError as error:
            raise ModelFolderError(f"{MANIFEST_FILE}: {error}; export the model again") from error


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model folder that was read from disk.

    Args:
        path: The folder.
        decoder: Its genai_config.json.
        generation: Generation defaults, from its generation_config.json.
        manifest: Its manifest.json; `None` for a folder that another tool made.
    """

    path: Path
    decoder: DecoderConfig
    generation: GenerationConfig
    manifest: Manifest | None

    @property
    def model_path(self) -> Path:
        """The ONNX file."""
        return self.path / self.decoder.filename

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The ids that end a sequence: generation_config.json's, else genai_config.json's."""
        return self.generation.eos_token_ids or self.decoder.eos_token_ids

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read the folder's small files and see that the ONNX file is there.

        Raises:
            ModelFolderError: A file is missing or cannot be understood.
        """
        path = Path(path)
        decoder = DecoderConfig.from_json(_read_json(path / CONFIG_FILE))
        if not (path / decoder.filename).is_file():
            raise ModelFolderError(
                f"{path}: {decoder.filename}, which {CONFIG_FILE} names, is missing; export the model again"
            )
        generation_path, manifest_path = path / GENERATION_CONFIG_FILE, path / MANIFEST_FILE
        return cls(
            path=path,
            decoder=decoder,
            generation=_read_generation(generation_path) if generation_path.is_file() else GenerationConfig(),
            manifest=Manifest.from_json(_read_json(manifest_path)) if manifest_path.is_file() else None,
        )

    @staticmethod
    def is_model_folder(path: Path | str) -> bool:
        """Whether the path is a folder that `load` would try to read."""
        return (Path(path) / CONFIG_FILE).is_file()


def check_target(target: Path, *, overwrite: bool) -> None:
    """See that a folder may be made at the target.

    Raises:
        ExportError: Something is there already.
    """
    if not overwrite and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ExportError(f"{target} exists already; choose another folder or pass overwrite (--overwrite)")


@contextlib.contextmanager
def staged_folder(target: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside the target, which becomes the target when the block ends well.

    Until then nothing exists at the target; if the block fails or the process dies, nothing ever does (a killed
    process leaves only a hidden folder named `.<target>.partial-*`).

    Raises:
        ExportError: The target exists already and is not empty, or the disk refuses.
    """
    target = Path(target)
    check_target(target, overwrite=overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
    except OSError as error:
        raise ExportError(f"cannot write beside {target}: {error.strerror}") from error
    try:
        yield staging
        staging.chmod(0o755)
        for path in sorted(staging.rglob("*")):
            if path.is_file():
                _fsync(path)
        check_target(target, overwrite=overwrite)  # another export may have been quicker
        _replace_folder(staging, target)
    except OSError as error:
        raise ExportError(f"writing {target} failed: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _replace_folder(staging: Path, target: Path) -> None:
    """Rename staging to target; an existing target is moved aside first and removed last."""
    if target.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
        target.replace(aside / target.name)
        staging.replace(target)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        staging.replace(target)
    _fsync(target.parent)


def _fsync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder for syncing
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_generation(path: Path) -> GenerationConfig:
    try:
        return GenerationConfig.from_dict(_read_json(path))
    except OptionError as error:
        raise ModelFolderError(f"{path}: {error}; correct the file or remove it") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelFolderError(
            f"{path.parent}: {path.name} is missing; this is not a model folder"
        ) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelFolderError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(values, dict):
        raise ModelFolderError(f"{path}: must hold a JSON object, not a {type(values).__name__}")
    return values
