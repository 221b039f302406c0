"""The options that commands share, each defined once: which model and where it runs, and how it generates."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from genai.config import GenerationConfig, RunOptions

__all__ = [
    "BlockSize",
    "FolderFlags",
    "GenerationFlags",
    "JsonFlag",
    "MaxContext",
    "ModelFlags",
    "OfflineFlag",
    "Precision",
    "Revision",
    "RunFlags",
    "SequenceFlags",
    "Variant",
    "given_options",
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

    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="Model folder, checkpoint folder, GGUF file, alias or hub id.",
            show_default=True,
        ),
    ] = "demo"
    revision: Revision = None
    max_context: MaxContext = None


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
            help="On the CPU: speed holds weights twice, so that prompts are read faster, memory once; auto looks at what "
            "is free.",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationFlags:
    """How to generate; every field is one of `GenerationConfig`, and None leaves the model's default."""

    max_new_tokens: Annotated[int | None, typer.Option(help="Most tokens to generate.")] = None
    min_new_tokens: Annotated[int | None, typer.Option(help="No end of text before this many tokens.")] = None
    do_sample: Annotated[
        bool | None, typer.Option("--do-sample/--greedy", help="Draw tokens, or take the most likely.")
    ] = None
    temperature: Annotated[float | None, typer.Option(help="Divides the logits; 0 is greedy.")] = None
    top_k: Annotated[int | None, typer.Option(help="Keep the k most likely tokens; 0 keeps all.")] = None
    top_p: Annotated[float | None, typer.Option(help="Keep the smallest set with this probability.")] = None
    min_p: Annotated[
        float | None, typer.Option(help="Keep tokens this likely relative to the most likely one.")
    ] = None
    typical_p: Annotated[float | None, typer.Option(help="Keep locally typical tokens up to this mass.")] = (
        None
    )
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Penalty on tokens that occurred; 1 is none.")
    ] = None
    presence_penalty: Annotated[
        float | None, typer.Option(help="Subtracted once from generated tokens' logits.")
    ] = None
    frequency_penalty: Annotated[
        float | None, typer.Option(help="Subtracted per occurrence of a generated token.")
    ] = None
    no_repeat_ngram_size: Annotated[
        int | None, typer.Option(help="No n-gram of this size occurs twice; 0 is off.")
    ] = None
    seed: Annotated[int | None, typer.Option(help="Seed of the random stream.")] = None
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Text that ends generation; may be repeated.")
    ] = None
    stop_token_ids: Annotated[
        list[int] | None,
        typer.Option("--stop-token-id", metavar="ID", help="Token that ends generation; may be repeated."),
    ] = None
    ignore_eos: Annotated[
        bool | None, typer.Option("--ignore-eos", help="Go on past end-of-text tokens.")
    ] = None
    num_beams: Annotated[int | None, typer.Option(help="Beam search over this many; 1 is off.")] = None
    length_penalty: Annotated[
        float | None, typer.Option(help="Exponent on the length that a beam's score is divided by.")
    ] = None
    adapter: Annotated[
        str | None, typer.Option(metavar="NAME", help="Low-rank adapter of the model to compute with.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceFlags:
    """What makes sense for one prompt, but not in a conversation."""

    num_return_sequences: Annotated[int | None, typer.Option(help="How many continuations to return.")] = None
    logprobs: Annotated[
        bool | None, typer.Option("--logprobs", help="Return each token's log-probability (with --json).")
    ] = None
    top_logprobs: Annotated[
        int | None, typer.Option(help="Return this many alternatives per token too (with --json).")
    ] = None


def given_options(*groups: GenerationFlags | SequenceFlags) -> dict[str, Any]:
    """Return the generation options that the user gave, after checking them as far as possible without a model.

    Raises:
        OptionError: A value is impossible.

    >>> given_options(GenerationFlags(top_k=4, stop=["."]))
    {'top_k': 4, 'stop': ['.']}
    """
    options = {
        field.name: value
        for group in groups
        for field in dataclasses.fields(group)
        if (value := getattr(group, field.name)) is not None and value != []
    }
    _check(options)
    return options


def _check(options: dict[str, Any]) -> None:
    """See that some model could take these: its own defaults may sample, and set any limit on length."""
    probe = {"max_new_tokens": None, **options}
    if probe.get("num_beams", 1) == 1:
        probe.setdefault("do_sample", True)
    GenerationConfig().merge(**probe)
