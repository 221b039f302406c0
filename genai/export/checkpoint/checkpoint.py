"""What an export reads from: a config and tensors by name, whatever format they lie in."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from genai.errors import CheckpointError
from genai.export.checkpoint.rows import Rows
from genai.folder.files import HF_CONFIG_FILE, OPTIMIZER_CONFIG_FILE

__all__ = [
    "Array",
    "Checkpoint",
    "StoredTensors",
    "architecture_of",
    "naming_checkpoint",
    "read_config",
    "read_json",
]

Array = NDArray[Any]


class Checkpoint(Protocol):
    """Tensors by the names that transformers gives them, and the config.json that describes them.

    Whatever a format quantized is a view that decodes what is looked at; where ONNX Runtime's kernels hold its codes,
    a `CodedRows`.
    """

    @property
    def path(self) -> Path:
        """Where it lies: a folder, or a file that is a format of its own."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """The content of config.json."""
        ...

    def __getitem__(self, name: str, /) -> Rows:
        """Return a tensor of floats.

        Raises:
            CheckpointError: It is of another type.
        """
        ...

    def __contains__(self, name: object, /) -> bool: ...

    def keys(self) -> Set[str]:
        """Return the names of all tensors."""
        ...

    def file_of(self, name: str) -> Path:
        """Return the file that holds a tensor."""
        ...


class StoredTensors(Checkpoint, Protocol):
    """A checkpoint whose tensors lie as arrays of any type, quantized ones in the parts that their format has."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the files say beside tensors."""
        ...

    def raw(self, name: str, /) -> Array:
        """Return a tensor of whatever type as it is stored.

        Raises:
            CheckpointError: numpy has no such type.
        """
        ...

    def dtype_of(self, name: str, /) -> str:
        """Return a tensor's type, by safetensors' name ("U8", "F8_E4M3")."""
        ...


def read_config(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint folder's config.json.

    Where NVIDIA's Model Optimizer described the quantization in a file beside it, as its own framework reads it, that is
    its quantization_config.

    Raises:
        CheckpointError: It is missing or malformed, or there is no such folder.
    """
    if not path.is_dir():
        raise CheckpointError(
            f"{path}: not a folder; a checkpoint is a folder with config.json and safetensors, or pytorch_model.bin"
        )
    config = read_json(path / HF_CONFIG_FILE)
    if (path / OPTIMIZER_CONFIG_FILE).is_file() and not config.get("quantization_config"):
        settings = read_json(path / OPTIMIZER_CONFIG_FILE).get("quantization")
        if isinstance(settings, Mapping) and settings.get("quant_algo") is not None:
            config["quantization_config"] = {**settings, "quant_method": "modelopt"}
    return config


@contextlib.contextmanager
def naming_checkpoint(path: Path) -> Iterator[None]:
    """Put a checkpoint's path before messages that do not name it."""
    try:
        yield
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error


def architecture_of(config: Mapping[str, Any], path: Path) -> str:
    """Return the architecture that a config.json names; `path` is its folder, for messages.

    Raises:
        CheckpointError: It names none.
    """
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise CheckpointError(
            f'{path / "config.json"}: "architectures" must name the model class, such as '
            f'["LlamaForCausalLM"]; found {names!r}'
        )
    return names[0]


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of one of a checkpoint's JSON files, which must be an object.

    Raises:
        CheckpointError: It is missing or malformed.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent}: {path.name} is missing; this is not a checkpoint") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values
