"""`genai models show`: the facts of a model, and of its exports on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genai.cli.command import command
from genai.cli.models.entry import entry_to_json, folder_to_json, state_of
from genai.cli.options import JsonFlag
from genai.cli.output import format_bytes, print_json, print_result

if TYPE_CHECKING:
    from genai.folder import Manifest, ModelFolder
    from genai.hub import ModelEntry, Preset

__all__ = ["show_model"]


@command("genai models show phi", "genai models show ./model --json", name="show")
def show_model(
    model: Annotated[str, typer.Argument(metavar="M", help="Model folder, alias or hub id.")],
    *,
    json: JsonFlag = False,
) -> None:
    """Show the facts of a model.

    Its preset, its configuration, and where the files of its exports came from.
    """
    from genai.folder import ModelFolder
    from genai.hub import LocalModel, find_model, resolve, resolve_checkpoint

    found = resolve(model)
    entry: ModelEntry | None = None
    states: dict[Path, str] = {}
    if isinstance(found, LocalModel) and ModelFolder.is_model_folder(found.path):
        folders = [ModelFolder.load(found.path)]
    else:
        if isinstance(found, LocalModel) and found.preset is None:
            resolve_checkpoint(model)  # raises where the folder holds nothing of ours
        entry = find_model(model)
        folders = [ModelFolder.load(export.path) for export in entry.exports if export.manifest]
        states = {export.path: state_of(export) for export in entry.exports}
    if json:
        facts = {"folders": [folder_to_json(folder) for folder in folders]}
        print_json({**(entry_to_json(entry) if entry else {"name": model}), **facts})
        return
    sections = [_describe_entry(entry)] if entry else []
    sections += [_describe_folder(folder, state=states.get(folder.path, "")) for folder in folders]
    print_result("\n\n".join(_format_facts(section) for section in sections))


def _describe_entry(entry: ModelEntry) -> dict[str, Any]:
    preset = entry.preset
    facts: dict[str, Any] = {"model": entry.name, "source": entry.source}
    if preset is not None:
        facts |= {
            "aliases": ", ".join(preset.aliases),
            "what it is": preset.description,
            "parameters": preset.parameters,
            **_describe_memory(preset),
            "license": preset.license + (" (to be accepted on its page)" if preset.gated else ""),
        }
    if preset is not None and preset.repo is None:
        return facts | {"here": "yes" if entry.is_packaged else "no: install genai again"}
    if not os.path.isabs(entry.source):  # of a repository, not of a folder
        facts["download"] = format_bytes(entry.download_bytes) if entry.download_bytes else "not here"
    return facts if entry.exports else facts | {"exports": "none here"}


def _describe_memory(preset: Preset) -> dict[str, str]:
    """Say what a preset takes: its weights, and the cache of a conversation."""
    if preset.weight_bytes is None or not preset.kv_elements:
        return {}
    weights, token = format_bytes(preset.weight_bytes), format_bytes(preset.cache_bytes(1))
    length = preset.context_length
    whole = f"{format_bytes(preset.cache_bytes(length))} for all {length} tokens of the context"
    return {"memory": f"about {weights}, and {token} for each token of a conversation ({whole})"}


def _describe_folder(folder: ModelFolder, *, state: str) -> dict[str, Any]:
    from genai.folder.model_card import describe_adapters, describe_weights

    values = folder_to_json(folder)
    facts: dict[str, Any] = {
        "folder": values["path"] + state,
        **({"variant": values["variant"]} if values["variant"] else {}),
        "size": format_bytes(values["size_bytes"]),
        "type": values["model_type"],
        "context": f"{values['context_length']} tokens",
        "vocabulary": f"{values['vocab_size']} tokens",
        "shape": f"{values['num_layers']} layers of width {values['hidden_size']}, {_describe_heads(values)}",
    }
    manifest = folder.manifest
    if manifest is None:
        return facts | {"made by": "another tool (no manifest.json)"}
    decoded: Mapping[str, int] = manifest.exporter_notes.get("quantized_weights", {}).get("decoded", {})
    if decoded:
        facts["decoded"] = ", ".join(f"{count} of {name}" for name, count in decoded.items())
    if manifest.license is not None:
        facts["license"] = manifest.license
    if manifest.bits_per_weight is not None:
        facts["parameters"] = f"{manifest.num_parameters:,} at {manifest.bits_per_weight:.2f} bits"
    return facts | {
        "precision": manifest.precision,
        "made for": f"{manifest.provider}, computing in {manifest.float_type}",
        **({"weights": described.replace("`", "")} if (described := describe_weights(manifest)) else {}),
        **({"KV cache": kv} if (kv := manifest.settings.get("kv_precision", "auto")) != "auto" else {}),
        **({"adapters": describe_adapters(manifest).replace("`", "")} if manifest.adapters else {}),
        "made from": manifest.source + (f" at {manifest.revision}" if manifest.revision else ""),
        "made on": manifest.created,
        "made with": ", ".join(f"{tool} {version}" for tool, version in manifest.versions.items()),
        **_describe_results(manifest),
        "files": ", ".join(sorted(manifest.files)),
    }


def _describe_heads(values: Mapping[str, Any]) -> str:
    if not values["num_heads"]:
        return "no attention"
    return f"{values['num_heads']} heads ({values['num_kv_heads']} key/value) of {values['head_dim']}"


def _describe_results(manifest: Manifest) -> dict[str, str]:
    """Return what `genai validate` and `genai evaluate` left in a manifest."""
    facts: dict[str, str] = {}
    if validation := manifest.validation:
        facts["validated"] = f"{'passed' if validation['passed'] else 'failed'} on {validation['date']}"
    if evaluation := manifest.evaluation:
        overall = evaluation["overall"]
        texts = evaluation["texts"]
        quality = (
            f"perplexity {overall['perplexity']:.2f} on {len(texts)} text{'s' if len(texts) > 1 else ''}"
        )
        comparison, reference = overall.get("comparison"), evaluation.get("reference")
        if comparison and reference:
            quality += (
                f", {comparison['perplexity_ratio']:.4f} x that of {_named(reference)}, "
                f"{comparison['mean_kl']:.4f} nats from it"
            )
        tasks = [f"{task['name']} {task['accuracy']:.1%}" for task in evaluation["tasks"]]
        facts["quality"] = "; ".join([quality, *tasks, f"on {evaluation['date']}"])
    return facts


def _named(reference: Mapping[str, Any]) -> str:
    precision = reference.get("precision")
    return f"{reference['source']} at {precision}" if precision else str(reference["source"])


def _format_facts(facts: dict[str, Any]) -> str:
    width = max(map(len, facts)) + 2
    return "\n".join(f"{name.ljust(width)}{value}" for name, value in facts.items())
