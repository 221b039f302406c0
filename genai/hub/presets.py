"""Model presets: what an alias such as "phi" stands for, read from configs/*.json.

It owns the presets' format and where the files lie. It downloads nothing and knows no model folder.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, Unpack

from genai.config import ExportOptions, ExportSettings
from genai.errors import GenaiError, did_you_mean

__all__ = ["Preset", "export_settings", "find_preset", "keeps_quantized", "load_presets", "presets_folder"]

_PARAMETERS = re.compile(r"([\d.]+)([BM])")

_BITS = {"fp32": 32, "fp16": 16, "bf16": 16, "int8": 8.6, "int4": 6}
"""Bits of memory per parameter, scales included; at int4 embedding, head and some matrices have 8 (docs/quantization.md)."""

_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Preset:
    """One file of configs/: a model under a short name.

    Args:
        aliases: Its short names, the main one first.
        description: One line about the model.
        license: The model's licence, as its page names it.
        parameters: Their number, as people write it ("3.8B").
        repo: The hub repository; `None` for a model that comes with the package.
        path: For a model that comes with the package, its folder within the package; else `None`.
        package_file: A file of another Python package that holds the model too ("package/model.gguf"), which is taken
            where that package is installed.
        revision: Branch, tag or commit of the repository.
        download_bytes: About how much is downloaded.
        context_length: Most tokens of a sequence; 0 where it is not known.
        kv_elements: Numbers that its cache holds of every token, keys and values of all layers; likewise.
        gated: Whether its page asks to accept a licence before a download.
        settings: How it is exported unless the caller says otherwise; a file has them as keys of their own.
        generation: Generation options that the repository's own generation_config.json may lack.
        has_precision: Whether the settings' precision is the preset's own, and not genai's default.
    """

    aliases: tuple[str, ...]
    description: str
    license: str
    parameters: str
    repo: str | None = None
    path: str | None = None
    package_file: str | None = None
    revision: str = "main"
    download_bytes: int = 0
    context_length: int = 0
    kv_elements: int = 0
    gated: bool = False
    settings: ExportSettings = field(default_factory=ExportSettings)
    generation: Mapping[str, Any] = field(default_factory=dict)
    has_precision: bool = False

    @property
    def alias(self) -> str:
        """The main short name."""
        return self.aliases[0]

    @property
    def weight_bytes(self) -> int | None:
        """About how much memory its weights take as it is exported; None where that is not known.

        >>> find_preset(alias="llama").weight_bytes
        900000000
        """
        found = _PARAMETERS.fullmatch(self.parameters)
        bits = _BITS.get(self.settings.precision)
        if found is None or bits is None:
            return None
        return round(float(found[1]) * (1e9 if found[2] == "B" else 1e6) * bits / 8)

    def cache_bytes(self, num_tokens: int) -> int:
        """Return how much memory the cache of a sequence takes, in float32."""
        return 4 * self.kv_elements * num_tokens

    @property
    def packaged_path(self) -> Path | None:
        """The model folder of a model that comes with the package, whether it exists or not."""
        return None if self.path is None else _PACKAGE / self.path

    def find_package_file(self) -> Path | None:
        """Return the file of another package that holds the model, if that package is installed; it is not imported."""
        if self.package_file is None:
            return None
        package, _, file = self.package_file.partition("/")
        spec = importlib.util.find_spec(package)
        folders = spec.submodule_search_locations if spec is not None else None
        paths = [Path(folder) / file for folder in folders or ()]
        return next((path for path in paths if path.is_file()), None)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read a preset.

        Raises:
            GenaiError: A key is unknown or missing, or it names neither or both of repo and path.
        """
        settings = {f.name for f in dataclasses.fields(ExportSettings)}
        known = {f.name for f in dataclasses.fields(cls)} - {"has_precision", "settings"} | settings
        for key in values:
            if key not in known:
                raise GenaiError(f'unknown key "{key}" in a preset.{did_you_mean(key, known)}')
        if not values.get("aliases") or ("repo" in values) == ("path" in values):
            raise GenaiError('a preset needs "aliases" and one of "repo" and "path"')
        try:
            return cls(
                **{key: value for key, value in values.items() if key not in (*settings, "aliases")},
                aliases=tuple(values["aliases"]),
                settings=ExportSettings(**{key: values[key] for key in settings & values.keys()}),
                has_precision="precision" in values,
            )
        except TypeError as error:
            raise GenaiError(f"a preset is incomplete: {error}") from error


def presets_folder() -> Path:
    """Return the folder of the presets: within the package when installed, beside it in a checkout."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def load_presets(folder: Path | None = None) -> tuple[Preset, ...]:
    """Read all presets, in the order of their main aliases.

    Raises:
        GenaiError: A file cannot be read, or two presets share an alias.

    >>> "phi" in [preset.alias for preset in load_presets()]
    True
    """
    presets: list[Preset] = []
    for file in sorted((folder or presets_folder()).glob("*.json")):
        try:
            presets.append(Preset.from_json(json.loads(file.read_text(encoding="utf-8"))))
        except (OSError, ValueError, GenaiError) as error:
            raise GenaiError(f"{file}: {error}") from error
    owners: dict[str, str] = {}
    for preset in presets:
        for alias in preset.aliases:
            if alias in owners:
                raise GenaiError(
                    f'the presets "{owners[alias]}" and "{preset.alias}" share the alias "{alias}"'
                )
            owners[alias] = preset.alias
    return tuple(sorted(presets, key=lambda preset: preset.alias))


def find_preset(*, alias: str | None = None, repo: str | None = None) -> Preset | None:
    """Return the preset that has this alias, or the one of this repository, if there is one.

    >>> find_preset(alias="llama").repo
    'meta-llama/Llama-3.2-1B-Instruct'
    >>> find_preset(repo="microsoft/Phi-4-mini-instruct").alias
    'phi'
    """
    for preset in load_presets():
        if (alias is not None and alias in preset.aliases) or (repo is not None and repo == preset.repo):
            return preset
    return None


def export_settings(preset: Preset | None, **options: Unpack[ExportOptions]) -> ExportSettings:
    """Return the settings of an export: the caller's where they are not `None`, else the preset's, else genai's own.

    Raises:
        OptionError: An option is unknown or its value impossible.
    """
    return (preset.settings if preset else ExportSettings()).merge(**options)


def keeps_quantized(preset: Preset | None, **options: Unpack[ExportOptions]) -> bool:
    """Whether an export keeps what is quantized already: where neither the caller nor the preset says how to round."""
    rounding = ("precision", "block_size", "quantize", "bits_budget")
    is_rounded = any(options.get(name) is not None for name in rounding)
    return not is_rounded and not (preset is not None and preset.has_precision)
