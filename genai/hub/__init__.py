"""Names to local folders: presets, the hub's cache, and the store of exports.

An alias, a hub id or a path is resolved (`resolve`), downloaded through huggingface_hub (`find_snapshot`,
`fetch`), and what is exported from it is kept (`Store`). It makes no export itself: `genai.prepare` does.
"""

from __future__ import annotations

from genai.hub.checkpoint import LocalCheckpoint, resolve_checkpoint
from genai.hub.download import Snapshot, fetch, find_snapshot
from genai.hub.inventory import ModelEntry, find_model, list_models, remove_model
from genai.hub.names import HubModel, LocalModel, is_checkpoint_folder, resolve
from genai.hub.presets import Preset, find_preset, load_presets
from genai.hub.progress import Progress
from genai.hub.store import ExportKey, Store, StoredExport, fingerprint, genai_home

__all__ = [
    "ExportKey",
    "HubModel",
    "LocalCheckpoint",
    "LocalModel",
    "ModelEntry",
    "Preset",
    "Progress",
    "Snapshot",
    "Store",
    "StoredExport",
    "fetch",
    "find_model",
    "find_preset",
    "find_snapshot",
    "fingerprint",
    "genai_home",
    "is_checkpoint_folder",
    "list_models",
    "load_presets",
    "remove_model",
    "resolve",
    "resolve_checkpoint",
]
