"""A model on this machine, as programs read it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genai.folder import ModelFolder
    from genai.hub import ModelEntry, StoredExport

__all__ = ["entry_to_json", "folder_to_json", "state_of"]


def entry_to_json(entry: ModelEntry) -> dict[str, Any]:
    """Return what is known of a model and what of it is here."""
    return {
        "name": entry.name,
        "source": entry.source,
        "is_here": entry.is_here,
        "download_bytes": entry.download_bytes,
        "export_bytes": entry.export_bytes,
        "preset": dataclasses.asdict(entry.preset) if entry.preset else None,
        "exports": [
            {
                "path": str(export.path),
                "revision": export.revision,
                "precision": export.precision,
                "size_bytes": export.size_bytes,
                "is_damaged": export.manifest is None,
                "is_current": export.is_current,
            }
            for export in entry.exports
        ],
    }


def state_of(export: StoredExport) -> str:
    """Return what to say behind an export that is not used any more, with a space before it, or nothing."""
    if export.manifest is None:
        return " (damaged)"
    return "" if export.is_current else " (outdated)"


def folder_to_json(folder: ModelFolder) -> dict[str, Any]:
    """Return the facts of a model folder: its configuration and manifest."""
    decoder = folder.decoder
    return {
        "path": str(folder.path),
        "variant": folder.variant,
        "size_bytes": sum(file.stat().st_size for file in folder.path.rglob("*") if file.is_file()),
        "model_type": decoder.model_type,
        "context_length": decoder.context_length,
        "vocab_size": decoder.vocab_size,
        "num_layers": decoder.num_layers,
        "hidden_size": decoder.hidden_size,
        "num_heads": decoder.num_heads,
        "num_kv_heads": decoder.num_kv_heads,
        "head_dim": decoder.head_dim,
        "eos_token_ids": list(folder.eos_token_ids),
        "manifest": folder.manifest.to_json() if folder.manifest else None,
    }
