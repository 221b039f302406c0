"""`genai generate`: continue one prompt."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from genai.cli.command import EXIT_FAILED, EXIT_INTERRUPTED, command
from genai.cli.generation_flags import (
    AnyOptionFlags,
    FormatFlags,
    GenerationFlags,
    LogprobFlags,
    SequenceFlags,
    check_logprobs,
    given_options,
)
from genai.cli.interrupts import interrupts_call
from genai.cli.loading import open_generator
from genai.cli.options import CacheFlags, DraftModel, JsonFlag, ModelFlags, RunFlags
from genai.cli.output import format_cut, format_stats, print_json, print_note, write_text
from genai.cli.standard_input import read_standard_input

if TYPE_CHECKING:
    from genai.engine import GenerationResult, GenerationStream

__all__ = ["generate"]


@command(
    'genai generate "Once upon a time" --max-new-tokens 64',
    "cat story.txt | genai generate - --model ./model --temperature 0.8 --seed 1 --json",
)
def generate(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The text to continue; - reads stdin.")],
    *,
    model: ModelFlags,
    runs: RunFlags,
    caches: CacheFlags,
    generation: GenerationFlags,
    sequences: SequenceFlags,
    logprobs: LogprobFlags,
    form: FormatFlags,
    others: AnyOptionFlags,
    draft: DraftModel = None,
    json: JsonFlag = False,
    stats: Annotated[bool, typer.Option("--stats", help="Print tokens and speed to stderr.")] = False,
) -> None:
    """Continue a prompt.

    The model sees the text as it is, without a chat template.
    """
    options = given_options(generation, sequences, logprobs, form, others)
    check_logprobs(options, json=json)
    text = read_standard_input() if prompt == "-" else prompt
    with open_generator(model, runs, caches, draft=draft) as generator:
        is_shown_at_once = not json and options.get("num_return_sequences", 1) == 1
        stream = generator.stream(text, **options)
        with interrupts_call(stream.cancel) as interruption:
            result = _finish(stream, is_shown_at_once=is_shown_at_once)
        if json:
            print_json({"model": model.model, **dataclasses.asdict(result)})
        elif not is_shown_at_once:
            write_text("\n\n".join(choice.text for choice in result.choices or (result,)) + "\n")
        cut = format_cut(result, has_form=True) if "response_format" in options else ""
        if cut:
            print_note(cut)
        if stats:
            print_note(format_stats(result.stats))
    if interruption.happened:
        raise typer.Exit(EXIT_INTERRUPTED)
    if cut:
        raise typer.Exit(EXIT_FAILED)


def _finish(stream: GenerationStream, *, is_shown_at_once: bool) -> GenerationResult:
    """Run the generation to its end, writing what comes if that is wanted, and end the line."""
    try:
        for piece in stream:
            if is_shown_at_once:
                write_text(piece.text)
    finally:
        stream.close()
    if is_shown_at_once:
        write_text("\n")
    assert stream.result is not None
    return stream.result
