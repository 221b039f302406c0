"""The options that commands share, each defined once: which model, and where it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from genai.cli.quantities import parse_bytes
from genai.config import RunOptions

__all__ = [
    "BlockSize",
    "CacheFlags",
    "DraftModel",
    "FolderFlags",
    "JsonFlag",
    "MaxContext",
    "ModelFlags",
    "ModelName",
    "OfflineFlag",
    "Precision",
    "Revision",
    "RunFlags",
    "Variant",
]

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]
OfflineFlag = Annotated[bool, typer.Option("--offline", help="Use no network.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub repository.")]
Precision = Annotated[
    str | None, typer.Option(help="Export a checkpoint as fp32, fp16, bf16, int8, int4, int4-small or keep.")
]
BlockSize = Annotated[
    int | None,
    typer.Option(
        help="Weights per scale at int8 and int4: 32, 64 or 128; if not given, 32 at int8, and at int4 as large as a matrix bears."
    ),
]
Variant = Annotated[
    str | None,
    typer.Option(
        help="Which of several ONNX files to run: q4, q4f16, fp16, int8, ... (transformers.js folders)."
    ),
]


ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Model folder, checkpoint folder, GGUF file, alias or hub id.",
        show_default=True,
    ),
]
DraftModel = Annotated[
    str | None,
    typer.Option(
        "--draft", metavar="MODEL", help="Smaller model with the same vocabulary that guesses tokens ahead."
    ),
]
MaxContext = Annotated[int | None, typer.Option(min=1, help="Most tokens per sequence, prompt included.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderFlags:
    """Which folder a model's name stands for."""

    precision: Precision = None
    variant: Variant = None
    offline: OfflineFlag = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFlags(FolderFlags):
    """Which model."""

    model: ModelName = "demo"
    revision: Revision = None
    max_context: MaxContext = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFlags:
    """How much a model holds at a time, as `Generator` takes it; a limit counts for each device."""

    max_batch: Annotated[
        int | None, typer.Option(min=1, help="Most sequences that run at a time; 16 if not given.")
    ] = None
    kv_cache_bytes: Annotated[
        int | None,
        typer.Option(
            parser=parse_bytes,
            metavar="BYTES",
            help="Most bytes of KV cache, as 2GB; if not given, all there is on the host, and nine tenths of what a device has free.",
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFlags:
    """What models run on; every field is one of `RunOptions`."""

    provider: Annotated[str, typer.Option(help="Execution provider; `genai providers` lists them.")] = "auto"
    device_id: Annotated[int, typer.Option(min=0, help="Which device of the provider.")] = 0
    provider_library: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Plug-in library of an execution provider to use.")
    ] = None
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Fail where the model, or a part of it, would run on the CPU instead of the provider.",
        ),
    ] = False
    num_threads: Annotated[int | None, typer.Option(min=1, help="Threads per operator.")] = None
    optimize_for: Annotated[
        str,
        typer.Option(
            metavar="GOAL",
            help="On the CPU: speed holds weights twice, so that prompts and batches are faster, memory once; auto looks "
            "at what is free.",
        ),
    ] = "auto"

    @property
    def options(self) -> RunOptions:
        """The same, as `Generator` takes it."""
        return RunOptions(
            provider=self.provider,
            device_id=self.device_id,
            provider_library=self.provider_library,
            strict=self.strict,
            num_threads=self.num_threads,
            optimize_for=self.optimize_for,
        )
