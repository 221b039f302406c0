"""What a folder will take of memory, told by its files."""

from __future__ import annotations

import dataclasses

import genai
from genai.folder import MemoryNeed, ModelFolder


def demo_folder() -> ModelFolder:
    return genai.Generator("demo").folder


def test_a_limited_cache_takes_what_it_may() -> None:
    need = MemoryNeed(
        weight_bytes=1000, token_bytes=10, copy_bytes=500, context_length=8192, runtime_bytes=100
    )
    assert need.total_bytes(kv_cache_bytes=7) == 1607
    assert need.total_bytes(kv_cache_bytes=7, has_copy=False) == 1107
    assert need.total_bytes(has_copy=False) == 1100 + 4096 * 10  # a long conversation
    assert need.total_bytes(has_copy=False, max_context=20) == 1100 + 200
    states = dataclasses.replace(need, token_bytes=0, state_bytes=50)
    assert states.total_bytes(has_copy=False) == 1150


def test_it_is_read_off_the_folder() -> None:
    folder = demo_folder()
    need = MemoryNeed.of_folder(folder)
    files = [file for file in folder.path.iterdir() if file.name.startswith(folder.decoder.filename)]
    assert need.weight_bytes == sum(file.stat().st_size for file in files)
    assert folder.manifest is not None
    settings = {**folder.manifest.settings, "precision": "int8", "kv_precision": "int8"}
    manifest = dataclasses.replace(folder.manifest, settings=settings)
    smaller = MemoryNeed.of_folder(dataclasses.replace(folder, manifest=manifest))
    assert smaller.copy_bytes == need.weight_bytes
    assert 4 * smaller.token_bytes == 2 * folder.decoder.num_layers * folder.decoder.num_kv_heads * (
        folder.decoder.head_dim * 4
    )
