"""A checkpoint as transformers 4.57 can read it: links to its weights, and a config.json in the older terms.

transformers 5 writes what it knows of rotary positions as `rope_parameters`, which 4.57 passes over in silence and
then computes with defaults. What has no older form is refused. The tokenizer stays behind: the exporter needs none.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genai.errors import UnsupportedModelError

__all__ = ["link_older_checkpoint", "older_config"]

_LINKED = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin*", "generation_config.json")
_LOCAL_THETA_FAMILIES = ("gemma3", "gemma3_text")
"""Families whose sliding layers have their own rotary base in 4.57, under the name rope_local_base_freq."""


def link_older_checkpoint(checkpoint: Path, config: Mapping[str, Any], folder: Path) -> None:
    """Fill a folder with links to a checkpoint's weights and its translated config.json.

    Args:
        checkpoint: The checkpoint's folder.
        config: The content of its config.json.
        folder: An existing folder.

    Raises:
        UnsupportedModelError: The config says something that transformers 4.57 has no word for.
    """
    translated = older_config(config)
    (folder / "config.json").write_text(json.dumps(translated, indent=2), encoding="utf-8")
    for pattern in _LINKED:
        for file in sorted(checkpoint.glob(pattern)):
            _link(file.resolve(), folder / file.name)


def older_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config.json of transformers 5 in the terms of 4.57; one that is older already comes back unchanged.

    Raises:
        UnsupportedModelError: It says something that 4.57 has no word for.

    >>> older_config({"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}})
    {'rope_theta': 500000.0}
    """
    values = dict(config)
    text = values.get("text_config")
    if isinstance(text, Mapping):
        values["text_config"] = older_config(text)
    if "dtype" in values:
        values.setdefault("torch_dtype", values.pop("dtype"))
    rope = values.pop("rope_parameters", None)
    if isinstance(rope, Mapping) and rope:
        values |= _older_rope(rope, str(values.get("model_type", "")))
    return values


def _older_rope(rope: Mapping[str, Any], model_type: str) -> dict[str, Any]:
    """Return the older keys for `rope_parameters`, which may be given per kind of layer."""
    parts = {kind: part for kind, part in rope.items() if isinstance(part, Mapping)}
    if not parts:
        return _older_keys(rope, model_type)
    full, sliding = parts.get("full_attention"), parts.get("sliding_attention")
    if full is None or set(parts) - {"full_attention", "sliding_attention"}:
        raise _untranslatable(f"rotary positions per kind of layer ({', '.join(parts)})")
    older = _older_keys(full, model_type)
    if sliding is None:
        return older
    if sliding.get("rope_type", "default") != "default":
        raise _untranslatable("scaled rotary positions in sliding layers")
    if sliding.get("partial_rotary_factor", 1.0) != full.get("partial_rotary_factor", 1.0):
        raise _untranslatable("heads that are rotated in another part in sliding layers than in others")
    if model_type in _LOCAL_THETA_FAMILIES:
        older["rope_local_base_freq"] = sliding["rope_theta"]
    elif sliding.get("rope_theta") != full.get("rope_theta") or "rope_scaling" in older:
        raise _untranslatable("rotary positions that differ between sliding and other layers")
    return older


def _older_keys(rope: Mapping[str, Any], model_type: str) -> dict[str, Any]:
    is_neox = model_type == "gpt_neox"
    names = {
        "rope_theta": "rotary_emb_base" if is_neox else "rope_theta",
        "partial_rotary_factor": "rotary_pct" if is_neox else "partial_rotary_factor",
    }
    older = {names[key]: rope[key] for key in names if rope.get(key) is not None}
    if rope.get("rope_type", "default") != "default":
        older["rope_scaling"] = {key: value for key, value in rope.items() if key not in names}
    return older


def _untranslatable(what: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"its config.json asks for {what}, which transformers 4.57 has no word for")


def _link(source: Path, target: Path) -> None:
    """Make a file appear in another place, without a copy where the file system can."""
    for link in (os.symlink, os.link):
        try:
            link(source, target)
        except OSError:
            continue
        return
    shutil.copyfile(source, target)
