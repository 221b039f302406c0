"""What a model's name stands for: a path, an alias, or a hub id.

It owns the rules of resolution and their error messages. It looks at the disk and at the presets, never at the
network.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from genai.errors import ModelNotFoundError, OptionError, did_you_mean
from genai.folder import ModelFolder
from genai.folder.gguf_files import GGUF_SUFFIX, gguf_file_of
from genai.hub.presets import Preset, find_preset, load_presets

__all__ = ["HubModel", "LocalModel", "is_checkpoint_folder", "resolve"]

_HUB_ID = re.compile(
    r"(?P<repo>[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*)(?:@(?P<revision>[^:@\s]+))?(?::(?P<subfolder>[^:\s]+))?",
    re.ASCII,
)
_ALIAS = re.compile(r"(?P<alias>[^@/\\]+?)(?:@(?P<revision>[^:@\s]+))?")


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A path on this machine: a model folder, a checkpoint's folder, or a GGUF file.

    Args:
        path: The folder or file.
        preset: The preset that it belongs to, when it comes with this package or another one.
    """

    path: Path
    preset: Preset | None = None


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository on the hub.

    Args:
        repo: "owner/name".
        revision: Branch, tag or commit.
        subfolder: The folder within the repository that holds the model, or the GGUF file that is the model; `None` is
            its root.
        preset: The preset of this repository, if there is one.
    """

    repo: str
    revision: str = "main"
    subfolder: str | None = None
    preset: Preset | None = None

    @property
    def gguf_file(self) -> str | None:
        """The GGUF file that is the model, if one is named."""
        is_file = self.subfolder is not None and self.subfolder.lower().endswith(GGUF_SUFFIX)
        return self.subfolder if is_file else None

    @property
    def source(self) -> str:
        """The repository and subfolder as one name, without the revision.

        >>> HubModel("owner/name", subfolder="cpu/int4").source
        'owner/name:cpu/int4'
        """
        return self.repo if self.subfolder is None else f"{self.repo}:{self.subfolder}"


def resolve(name: str | Path, *, revision: str | None = None) -> LocalModel | HubModel:
    """Find out what a name stands for: an existing path, else an alias, else "owner/name[@revision][:subfolder]".

    In place of the subfolder may stand a GGUF file ("owner/name:model-Q4_K_M.gguf"). An alias whose model another
    installed package holds stands for the file in there, unless a revision is asked for.

    A folder in the way that holds no model does not hide an alias of the same name. An alias may have an
    "@revision" too.

    Args:
        name: The name; a `Path` is only ever a path.
        revision: Branch, tag or commit, for a name that stands for a hub repository.

    Raises:
        ModelNotFoundError: The name stands for nothing; the message says what was tried.
        OptionError: A revision is asked of a folder, or two different ones are.

    >>> resolve("owner/name@v1.0:onnx/int4")
    HubModel(repo='owner/name', revision='v1.0', subfolder='onnx/int4', preset=None)
    >>> resolve("lama")
    Traceback (most recent call last):
    genai.errors.ModelNotFoundError: "lama" is no model: there is no such path, no such alias, and it is not \
of the form owner/name[@revision][:subfolder or file.gguf]. Did you mean "llama"?
    """
    text = os.fspath(name)
    path = Path(_expanded(text))
    found = None if isinstance(name, Path) else _find_alias(text, revision)
    if text and os.path.exists(path) and (found is None or _holds_model(path)):
        if revision is not None:
            raise OptionError(f"revision is for hub repositories, and {path} is on this machine")
        return LocalModel(path)
    if found is None and not isinstance(name, Path):
        found = _parse_hub_id(text)
    if found is None:
        raise _not_found(name)
    if isinstance(found, LocalModel):
        if revision is not None:
            raise OptionError(f'revision is for hub repositories, and "{text}" comes with the package')
        return found
    return _with_revision(found, text, revision)


def is_checkpoint_folder(path: Path) -> bool:
    """Whether the path is a folder with a config.json and weights: safetensors, or those of PyTorch."""
    patterns = ("*.safetensors", "pytorch_model*.bin")
    return (path / "config.json").is_file() and any(file for name in patterns for file in path.glob(name))


def _holds_model(path: Path) -> bool:
    return ModelFolder.is_model_folder(path) or is_checkpoint_folder(path) or gguf_file_of(path) is not None


def _find_alias(text: str, revision: str | None) -> LocalModel | HubModel | None:
    match = _ALIAS.fullmatch(text)
    preset = find_preset(alias=match["alias"]) if match else None
    if match is None or preset is None:
        return None
    if preset.repo is None:
        assert preset.packaged_path is not None
        return LocalModel(preset.packaged_path, preset) if match["revision"] is None else None
    if match["revision"] is None and revision is None and (file := preset.find_package_file()) is not None:
        return LocalModel(file, preset)
    return HubModel(preset.repo, match["revision"] or preset.revision, None, preset)


def _parse_hub_id(text: str) -> HubModel | None:
    match = _HUB_ID.fullmatch(text)
    if match is None:
        return None
    subfolder = match["subfolder"].strip("/") if match["subfolder"] else None
    if subfolder is not None and ".." in PurePosixPath(subfolder).parts:
        return None
    preset = find_preset(repo=match["repo"])
    default = preset.revision if preset else "main"
    return HubModel(match["repo"], match["revision"] or default, subfolder or None, preset)


def _with_revision(found: HubModel, text: str, revision: str | None) -> HubModel:
    if revision is None:
        return found
    if "@" in text and found.revision != revision:
        raise OptionError(f'two revisions: "{text}" names "{found.revision}", and revision is "{revision}"')
    return replace(found, revision=revision)


def _expanded(text: str) -> str:
    """Return a path with a user's home for a leading ~; no user has a name with a null in it."""
    return text if "\0" in text else os.path.expanduser(text)


def _not_found(name: str | Path) -> ModelNotFoundError:
    text = os.fspath(name)
    looks_like_path = (
        isinstance(name, Path)
        or text.startswith((".", "/", "~", "\\"))
        or text.endswith(("/", "\\"))
        or (text.lower().endswith(GGUF_SUFFIX) and ":" not in text)
        or bool(re.match(r"[A-Za-z]:[\\/]", text))
    )
    if looks_like_path:
        kind = "file" if text.lower().endswith(GGUF_SUFFIX) else "folder"
        return ModelNotFoundError(f"there is no {kind} {os.path.abspath(_expanded(text))}")
    aliases = [alias for preset in load_presets() for alias in preset.aliases]
    hint = did_you_mean(text.partition("@")[0], aliases)
    return ModelNotFoundError(
        f'"{text}" is no model: there is no such path, no such alias, and it is not of the form '
        f"owner/name[@revision][:subfolder or file.gguf].{hint or ' `genai models list` shows the aliases.'}"
    )
