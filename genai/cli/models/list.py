"""`genai models list`: presets, downloads and exports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genai.cli.command import command
from genai.cli.models.entry import entry_to_json, state_of
from genai.cli.options import JsonFlag
from genai.cli.output import format_bytes, format_table, print_json, print_result

if TYPE_CHECKING:
    from genai.hub import ModelEntry, Preset

__all__ = ["list_models"]

CONVERSATION_TOKENS = 4096
"""Those that the memory of a model is told for: a long conversation."""


@command("genai models list", "genai models list --json", name="list")
def list_models(*, json: JsonFlag = False) -> None:
    """List models and what of them is here.

    Those are the ones that have an alias, and whatever else was downloaded or exported.
    """
    from genai.hub import list_models as list_entries

    entries = list_entries()
    if json:
        print_json([entry_to_json(entry) for entry in entries])
        return
    rows = [
        [
            entry.name,
            entry.preset.parameters if entry.preset else "",
            _describe_memory(entry.preset),
            _describe_local_copies(entry),
            entry.preset.description if entry.preset else "",
        ]
        for entry in sorted(entries, key=lambda entry: not entry.is_here)
    ]
    print_result(format_table(["MODEL", "PARAMETERS", "MEMORY", "ON THIS MACHINE", "WHAT IT IS"], rows))


def _describe_memory(preset: Preset | None) -> str:
    """Say what a preset takes with a conversation of some length."""
    if preset is None or preset.weight_bytes is None:
        return ""
    num_tokens = min(preset.context_length, CONVERSATION_TOKENS)
    return format_bytes(preset.weight_bytes + preset.cache_bytes(num_tokens))


def _describe_local_copies(entry: ModelEntry) -> str:
    parts = [
        f"{export.precision} {format_bytes(export.size_bytes)}{state_of(export)}" for export in entry.exports
    ]
    if entry.download_bytes:
        parts.append(f"download {format_bytes(entry.download_bytes)}")
    if entry.is_packaged:
        package = entry.preset and entry.preset.package_file
        parts.append(f"in {package.partition('/')[0]}" if package else "comes with genai")
    return ", ".join(parts) or "no"
