"""The command: a conversation on a terminal, or one answer to a prompt or to what comes through a pipe."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genai import __version__
from genai.cli.chat.tools_file import read_tools
from genai.cli.command import EXIT_FAILED, EXIT_INTERRUPTED, command
from genai.cli.generation_flags import (
    AnyOptionFlags,
    FormatFlags,
    GenerationFlags,
    LogprobFlags,
    check_logprobs,
    given_options,
)
from genai.cli.interrupts import interrupts_call
from genai.cli.loading import open_generator
from genai.cli.options import CacheFlags, DraftModel, JsonFlag, ModelFlags, RunFlags
from genai.cli.output import (
    format_bytes,
    format_calls,
    format_carried_out,
    format_cut,
    format_stats,
    is_terminal,
    print_json,
    print_note,
    print_result,
)
from genai.cli.standard_input import read_standard_input
from genai.errors import ChatTemplateError, OptionError

if TYPE_CHECKING:
    from genai.cli.chat.model import GeneratorModel
    from genai.cli.chat.session import Session
    from genai.folder import ModelFolder
    from genai.generator import Generator

__all__ = ["chat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningFlags:
    """Whether a model reasons before it answers, and whether that is shown."""

    think: Annotated[
        bool | None, typer.Option("--think/--no-think", help="Let a reasoning model reason first, or not.")
    ] = None
    hide_thinking: Annotated[
        bool, typer.Option("--hide-thinking", help="Do not show what a reasoning model thinks.")
    ] = False

    @property
    def template_options(self) -> dict[str, Any]:
        """The variables of the chat template that say so."""
        return {} if self.think is None else {"enable_thinking": self.think}


@command(
    "genai chat",
    'genai chat "What is a KV cache?"',
    "genai chat --model phi --system 'Answer in one sentence.' --temperature 0.7",
    'genai chat "What does this say?" --file notes.txt',
    "echo 'Say hello.' | genai chat --model ./model",
)
def chat(
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="Answer this and exit; - reads stdin.")
    ] = None,
    *,
    model: ModelFlags,
    runs: RunFlags,
    caches: CacheFlags,
    generation: GenerationFlags,
    logprobs: LogprobFlags,
    form: FormatFlags,
    others: AnyOptionFlags,
    draft: DraftModel = None,
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--file", "-f", metavar="FILE", help="Text to stand before the PROMPT; - reads stdin. Repeat it."
        ),
    ] = None,
    reasoning: ReasoningFlags,
    tools: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Functions that the model may call: JSON schemas, whose calls are printed, or a Python file, which is run and "
            "whose functions with @genai.tool are called.",
        ),
    ] = None,
    tool_choice: Annotated[
        str,
        typer.Option(
            metavar="CHOICE", help="Whether it must call: none, auto, required, or a function's name."
        ),
    ] = "auto",
    stats: Annotated[
        bool | None, typer.Option("--stats/--no-stats", help="End answers with tokens and speed.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Talk to a model. With a PROMPT, or text through a pipe: one answer, then exit."""
    options = given_options(generation, logprobs, form, others)
    check_logprobs(options, json=json)
    text = _single_message(prompt, files or [])
    functions = None if tools is None else read_tools(tools)
    if json and text is None:
        raise OptionError("--json prints one answer: give a PROMPT, or pipe one in")
    with open_generator(model, runs, caches, draft=draft, choose_context=_choose_context) as generator:
        from genai.cli.chat.model import GeneratorModel
        from genai.cli.chat.session import Session

        chat_model = GeneratorModel(
            generator,
            model.model,
            template_options=reasoning.template_options,
            tools=functions,
            tool_choice=tool_choice,
        )
        _check_template(generator, model.model)
        session = Session(chat_model, system=system, settings=options)
        if text is None:
            _converse(session, chat_model, reasoning, shows_stats=stats is not False)
        else:
            _answer_once(session, text, reasoning, shows_stats=bool(stats), json=json)


def _choose_context(folder: ModelFolder) -> int | None:
    """Return the longest context that fits into memory, and say so where it is not the model's own."""
    from genai.cli.chat.context import longest_context
    from genai.config import SHARE_OF_FREE_MEMORY
    from genai.runtime.providers.hardware import free_host_bytes

    if (num_free := free_host_bytes()) is None:
        return None
    length = longest_context(folder, int(num_free * (1 - SHARE_OF_FREE_MEMORY)))
    if length < folder.decoder.context_length:
        print_note(
            f"a context of {length} tokens, which fits into the {format_bytes(num_free)} of memory that are free; the "
            f"model's own is {folder.decoder.context_length} (--max-context)"
        )
    return length


def _single_message(prompt: str | None, files: Sequence[Path]) -> str | None:
    """Return the one message to answer; None if a person is there to talk."""
    from genai.text import read_utf8

    is_watched = is_terminal(sys.stdin) and (is_terminal(sys.stdout) or is_terminal(sys.stderr))
    if prompt is None and is_watched:
        if files:
            raise OptionError("--file belongs to a PROMPT: give one, too")
        return None
    sources = [*map(str, files), *(["-"] if prompt in (None, "-") else [])]
    if sources.count("-") > 1:
        raise OptionError("standard input is read once: leave - out, as a PROMPT or as a --file")
    texts = [read_standard_input() if source == "-" else read_utf8(source) for source in sources]
    text = "\n\n".join(part.strip() for part in [*texts, prompt if prompt != "-" else ""] if part).strip()
    if not text:
        raise OptionError("there is nothing to answer: the prompt is empty")
    return text


def _check_template(generator: Generator, name: str) -> None:
    if generator.tokenizer.chat_template is None:
        raise ChatTemplateError(
            f'"{name}" has no chat template: it is a base model, or its folder lacks chat_template.jinja; '
            f"`genai generate --model {name}` continues plain text"
        )


def _answer_once(
    session: Session, text: str, reasoning: ReasoningFlags, *, shows_stats: bool, json: bool
) -> None:
    from genai.cli.chat.screen import StandardScreen

    screen = StandardScreen(shows_reasoning=not (json or reasoning.hide_thinking))
    session.show_reasoning = screen.reasoning
    with interrupts_call(session.cancel) as interruption:
        try:
            result = session.ask(text, (lambda _text: None) if json else screen.answer)
        finally:
            screen.end_answer()
    if json:
        print_json({"model": session.model.name, **dataclasses.asdict(result)})
    else:
        for line in format_calls(result.tool_calls):
            print_result(line)
    for line in format_carried_out(result.messages):
        print_note(line)
    has_form = session.config.response_format is not None
    if cut := format_cut(result, has_form=has_form):
        print_note(cut)
    if shows_stats:
        print_note(format_stats(result.stats))
    if interruption.happened:
        raise typer.Exit(EXIT_INTERRUPTED)
    if cut and has_form:
        raise typer.Exit(EXIT_FAILED)


def _converse(
    session: Session, model: GeneratorModel, reasoning: ReasoningFlags, *, shows_stats: bool
) -> None:
    from genai.cli.chat.presenter import Presenter
    from genai.cli.chat.repl import Repl
    from genai.cli.chat.screen import StandardScreen
    from genai.cli.chat.terminal import converse
    from genai.hub import genai_home

    print_note(
        f"genai {__version__}: {model.description['model']} on {model.description['provider']}, "
        f"context of {model.context_length} tokens"
    )
    print_note("/help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves.")
    screen = StandardScreen(shows_reasoning=not reasoning.hide_thinking)
    repl = Repl(Presenter(session, screen, shows_stats=shows_stats))
    converse(repl, history_path=genai_home() / "chat_history")
