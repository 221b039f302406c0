"""What an export will be, decided once from config.json, before any weights need be there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genai.config import PRECISIONS, ExportSettings
from genai.errors import OptionError, UnsupportedModelError
from genai.export.architecture import DecoderSpec
from genai.export.architecture.family import Family
from genai.export.build.cache_scales import check_quantized_cache
from genai.export.build.decoder_graph import check_decoder
from genai.export.build.decoder_parts import check_parts
from genai.export.build.precision import Precision
from genai.export.build.provider_checks import check_provider
from genai.export.checkpoint.checkpoint import architecture_of, naming_checkpoint
from genai.export.checkpoint.formats import (
    can_keep,
    check_quantization,
    has_config_file,
    read_checkpoint_config,
)
from genai.export.checkpoint.model_config import MisreadModelError
from genai.export.checkpoint.peft import PeftAdapter, read_peft
from genai.export.checkpoint.weights import WeightMap
from genai.export.families import find_family
from genai.export.foreign import check_foreign
from genai.export.write.draft import check_context

__all__ = ["ExportPlan", "NativeDecoder", "plan_export"]

_ADAPTER_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
"""It is a file's name, too."""


@dataclass(frozen=True, slots=True)
class NativeDecoder:
    """A decoder that the native exporter builds.

    Args:
        family: Its family.
        spec: The decoder, for sequences as long as the export's.
        weight_map: Where its parameters are in the checkpoint.
    """

    family: Family
    spec: DecoderSpec
    weight_map: WeightMap


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """An export that can be carried out, as far as config.json tells.

    Args:
        checkpoint: The checkpoint's folder, or its GGUF file.
        config: The content of its config.json, or what amounts to it.
        architecture: The architecture that it names.
        settings: What the export is to be.
        precision: The types and schemes that follow from the settings.
        native: What the native exporter will build; `None` leaves the export to transformers' exporter.
        why_not_native: Why the native exporter does not take it; `None` if it does, or was not asked.
        adapters: The adapters to keep beside the model, by name.
        merged: The adapter to merge into its weights.
    """

    checkpoint: Path
    config: Mapping[str, Any]
    architecture: str
    settings: ExportSettings
    precision: Precision
    native: NativeDecoder | None
    why_not_native: str | None
    adapters: Mapping[str, PeftAdapter] = field(default_factory=dict)
    merged: PeftAdapter | None = None


def plan_export(
    checkpoint: Path | str,
    settings: ExportSettings | None = None,
    *,
    keeps_quantized: bool = False,
    adapters: Mapping[str, Path | str] | None = None,
    merge_adapter: Path | str | None = None,
) -> ExportPlan:
    """Choose the exporter of a checkpoint and what it will build.

    Args:
        checkpoint: Folder with config.json, where the weights may be missing still; or a GGUF file.
        settings: What the export is to be; the defaults if not given.
        keeps_quantized: Take the precision "keep", whatever the settings say, where the checkpoint has quantized weights
            that can be kept.
        adapters: Folders of PEFT with LoRA adapters to keep beside the model, by the names that requests give them.
        merge_adapter: A folder with an adapter to merge into the weights.

    Raises:
        CheckpointError: config.json is missing or malformed, or an adapter is.
        UnsupportedModelError: No exporter that the settings allow takes the model, transformers' would make another one of
            it, its layers cannot be run over the text that the settings need, or its cache cannot hold codes.
        OptionError: The context is longer than the model's, there is nothing to keep, another exporter than the native
            one would need a text or adapters, or these do not go with what else was asked for.
        ExportError: The exporter that was asked for cannot run.
    """
    path, settings = Path(checkpoint), settings or ExportSettings()
    with naming_checkpoint(path):
        config = read_checkpoint_config(path)
        check_quantization(config)
        if keeps_quantized and can_keep(config):
            settings = settings.merge(precision="keep")
        if settings.precision == "keep" and not can_keep(config):
            raise OptionError(
                f"{path} has no quantized weights that could be kept: choose one of the other precisions "
                f"({', '.join(name for name in PRECISIONS if name != 'keep')})"
            )
        architecture = architecture_of(config, path)
        native, why_not = None, None
        if settings.via == "transformers" and not has_config_file(path):
            raise OptionError(
                "transformers' exporter reads folders with config.json, and this is a GGUF file: use via native"
            )
        if settings.via in ("auto", "native"):
            try:
                native = _native_decoder(architecture, config, settings.max_context)
            except MisreadModelError:
                raise
            except UnsupportedModelError as error:
                if settings.via == "native" or not has_config_file(path):
                    raise
                why_not = str(error)
        if settings.needs_text:
            _check_calibration(architecture, native, settings)
        if (adapters or merge_adapter) and native is None:
            raise OptionError(
                f"{'adapter' if adapters else 'merge_adapter'} is the native exporter's, and {architecture} is exported by "
                f"transformers' own{f': {why_not}' if why_not else ''}; merge the adapter with PEFT and export the result"
            )
        if native is not None:
            check_provider(native.spec, settings)
        elif settings.form.has_plain_attention:
            raise OptionError(
                f"transformers' exporter, which {architecture} needs, makes no graph in the form of {settings.provider}: "
                "choose another provider"
            )
        else:
            check_foreign(config, why_not_native=why_not, max_context=settings.max_context)
    return ExportPlan(
        path,
        config,
        architecture,
        settings,
        Precision.of(settings),
        native,
        why_not,
        adapters=_read_adapters(adapters or {}, settings),
        merged=None if merge_adapter is None or native is None else _read_merged(Path(merge_adapter), native),
    )


def _read_merged(path: Path, decoder: NativeDecoder) -> PeftAdapter:
    """Read the adapter to merge, and see that it has a matrix of its own for each module that it adapts."""
    adapter = read_peft(path)
    ends = [name for name in adapter.modules if name.rpartition(".")[2] == "lm_head"] + [*adapter.embeddings]
    if decoder.spec.tied and ends:
        raise UnsupportedModelError(
            f'{path}: it adapts "{ends[0]}" alone, and in this model the embedding and the head are one matrix, which merging '
            "would change for both: keep what adapts the head beside the model (--adapter), or untie the two with "
            "transformers first, and train beside the result"
        )
    return adapter


def _read_adapters(adapters: Mapping[str, Path | str], settings: ExportSettings) -> dict[str, PeftAdapter]:
    """Read the adapters to keep beside a model, and see that they can be."""
    if adapters and settings.needs_text:
        options, instead = (
            " and ".join(each) for each in (settings.text_options, settings.text_options.values())
        )
        raise OptionError(
            f"adapter and {options} cannot be combined, since a calibration rescales what an adapter was trained beside: "
            f"{instead}, or merge the adapter (merge_adapter)"
        )
    for name in adapters:
        if not _ADAPTER_NAME.fullmatch(name):
            raise OptionError(
                f"an adapter's name must be letters, digits, -, _ and dots, and begin with a letter or digit, not {name!r}"
            )
    found = {name: read_peft(Path(folder)) for name, folder in adapters.items()}
    for adapter in found.values():
        adapter.check_is_addition()
    return found


def _check_calibration(architecture: str, decoder: NativeDecoder | None, settings: ExportSettings) -> None:
    """See that a text can decide on what the settings leave to it: the layers are run over it one after the other."""
    what, instead = (" and ".join(each) for each in (settings.text_options, settings.text_options.values()))
    if decoder is None:
        raise OptionError(
            f"{what} is the native exporter's, and {architecture} is exported by transformers' own: {instead}"
        )
    if settings.quantizes_cache:
        try:
            check_quantized_cache(decoder.spec)
        except UnsupportedModelError as error:
            raise UnsupportedModelError(
                f"the KV cache of {architecture} cannot hold 8-bit codes, because {error}: choose kv_precision auto"
            ) from error
    try:
        check_parts(decoder.spec)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(
            f"{architecture} cannot be calibrated layer by layer, because {error}: {instead}"
        ) from error


def _native_decoder(architecture: str, config: Mapping[str, Any], max_context: int | None) -> NativeDecoder:
    """Return the decoder that a config.json describes, for sequences of at most this length."""
    family = find_family(architecture)
    spec, weight_map = family.read(config)
    check_decoder(spec)
    if max_context is None:
        max_context = spec.max_positions
    check_context(max_context, spec.max_positions, reason=spec.max_positions_reason)
    return NativeDecoder(family, spec.limited_to(max_context), weight_map)
