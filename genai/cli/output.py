"""What goes to stdout and stderr, and how it looks: results plain, notes dim, numbers short, programs get JSON."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import typer

if TYPE_CHECKING:
    from genai.config import Message, ToolCall
    from genai.engine import GenerationResult, GenerationStats

__all__ = [
    "dim",
    "format_bytes",
    "format_calls",
    "format_carried_out",
    "format_cut",
    "format_stats",
    "format_table",
    "is_terminal",
    "prepare_streams",
    "print_json",
    "print_note",
    "print_result",
    "uses_color",
    "write_text",
    "write_thought",
]

# What a model may not do to a terminal: move the cursor, change colours, ring the bell.
_CONTROL_CHARACTERS = {code: "\ufffd" for code in (*range(32), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
_CONTROL_CHARACTERS[ord("\r")] = ""


def is_terminal(stream: TextIO) -> bool:
    """Whether a person watches the stream."""
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def uses_color(stream: TextIO) -> bool:
    """Whether the stream is a terminal that may be coloured (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def dim(text: str, stream: TextIO) -> str:
    """Return the text so that it recedes, if the stream can show that."""
    return f"\x1b[2m{text}\x1b[0m" if uses_color(stream) else text


def print_result(line: str) -> None:
    """Write a line that the command was asked for."""
    sys.stdout.write(line + "\n")


def print_note(line: str) -> None:
    """Write a line for the person who waits."""
    typer.echo(dim(line, sys.stderr), err=True)


def print_json(value: Any) -> None:
    """Write a value as one line of JSON; numbers that JSON does not know become null."""
    print_result(json.dumps(_finite(value)))


def write_text(text: str) -> None:
    """Write generated text at once: unchanged into files and pipes, without control characters on a terminal."""
    sys.stdout.write(text.translate(_CONTROL_CHARACTERS) if is_terminal(sys.stdout) else text)
    sys.stdout.flush()


def write_thought(text: str) -> None:
    """Write what a model thinks before it answers: on stderr, receding, without control characters."""
    sys.stderr.write(dim(text.translate(_CONTROL_CHARACTERS), sys.stderr))
    sys.stderr.flush()


def prepare_streams() -> None:
    """Make the standard streams safe to use.

    One that the caller closed becomes an empty one; a character that the terminal's or pipe's encoding lacks is
    substituted instead of failing.
    """
    sys.stdin = sys.stdin or io.TextIOWrapper(io.BytesIO())
    sys.stdout = sys.stdout or io.StringIO()
    sys.stderr = sys.stderr or io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError, OSError):
                stream.reconfigure(errors="replace")


def format_bytes(num_bytes: float) -> str:
    """Return a size as people write it.

    >>> format_bytes(950), format_bytes(2_144_000), format_bytes(7_700_000_000)
    ('950 B', '2.1 MB', '7.7 GB')
    """
    for unit in ("B", "kB", "MB"):
        if num_bytes < 999.5:
            return f"{num_bytes:.0f} {unit}" if unit == "B" or num_bytes >= 100 else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} GB"


def format_calls(calls: Sequence[ToolCall]) -> list[str]:
    """Return calls of functions as lines of JSON, one each."""
    return [
        json.dumps({"id": call.id, "name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False)
        for call in calls
    ]


def format_carried_out(messages: Sequence[Message]) -> list[str]:
    """Return what functions that a conversation called have returned, as lines, one each."""
    calls: list[Any] = [call for message in messages for call in message.tool_calls or ()]
    arguments = {call.id: call.arguments_json for call in calls}
    return [
        f"[{message.name}({arguments[message.tool_call_id]}) returned {message.content}]"
        for message in messages
        if message.tool_call_id in arguments
    ]


def format_cut(result: GenerationResult, *, has_form: bool) -> str:
    """Return the line that says that an answer was cut off; empty if none was.

    Args:
        result: The answer, or several.
        has_form: Whether it was to have a form; JSON that could be read has it.
    """
    answers = result.choices or (result,)
    cut = [each for each in answers if each.finish_reason == "length" and each.parsed is None]
    if not cut:
        return ""
    told = f"cut off after {len(cut[0].token_ids)} tokens: max_new_tokens, max_time or the context allows no more"
    if (call := cut[0].cut_call) is not None:
        told = f"{told}; the call {call.name}({call.arguments_json} is not complete"
    return f"{told}; the form is not complete" if has_form else told


def format_stats(stats: GenerationStats) -> str:
    """Return what a generation cost, as one line: tokens and how fast, guesses, prompt tokens and how many were cached."""
    generated = f"{stats.generated_tokens} token{'' if stats.generated_tokens == 1 else 's'}"
    speed = f", {stats.tokens_per_second:.1f} tokens/s" if stats.tokens_per_second else ""
    accepted = (
        f", {stats.accepted_tokens} of {stats.drafted_tokens} drafted tokens accepted"
        if stats.drafted_tokens
        else ""
    )
    cached = f" ({stats.cached_prompt_tokens} cached)" if stats.cached_prompt_tokens else ""
    first = f", first token after {stats.time_to_first_token_seconds:.2f} s" if stats.generated_tokens else ""
    return f"{generated}{speed}{accepted}, prompt {stats.prompt_tokens}{cached}{first}"


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text under a header, in columns.

    >>> print(format_table(["NAME", "SIZE"], [["phi", "2 GB"], ["demo", ""]]))
    NAME  SIZE
    phi   2 GB
    demo
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in (header, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
