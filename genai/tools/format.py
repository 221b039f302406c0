"""What a format of tool calls is, as data: the texts around a call, and where its name and arguments stand.

A description says both how calls are read and how a grammar writes them. White space at the ends of a text is what a
model is made to write; what it wrote may have any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from genai.tools.values import JSON, ValueSyntax

__all__ = [
    "Arguments",
    "Block",
    "CallId",
    "CallObject",
    "Keywords",
    "Maybe",
    "Name",
    "Parameters",
    "Part",
    "ReasoningFormat",
    "ToolFormat",
]


@dataclass(frozen=True, slots=True)
class Name:
    """The function's name.

    Args:
        pattern: A regular expression of the whole word, with the group `name` where there is more than the name.
        is_id: Whether the word is the call's id, too.
        written: What a grammar writes before and after the name; the second is a regular expression.
    """

    pattern: str = r"(?P<name>[\w.-]+)"
    is_id: bool = False
    written: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments, as one object."""

    syntax: ValueSyntax = JSON


@dataclass(frozen=True, slots=True)
class Parameters:
    """The arguments one by one, each a text between tags; its type is what the function's schema says.

    Args:
        begin: Before a key.
        after_key: Between a key and its value.
        end: After a value.
        trims: Whether one line break at either end of a value belongs to the tags.
    """

    begin: str
    after_key: tuple[str, ...]
    end: str
    trims: bool = False


@dataclass(frozen=True, slots=True)
class Keywords:
    """The arguments as Python passes them: `(a=1, b="x")`."""


@dataclass(frozen=True, slots=True)
class CallObject:
    """A whole call as a JSON object.

    Args:
        name: The key of the function's name.
        arguments: The keys that arguments may have; a grammar writes the first.
        id: The key of the call's id, where a format has one.
        id_pattern: What a grammar writes as id; none where the model need not write one.
    """

    name: str = "name"
    arguments: tuple[str, ...] = ("arguments", "parameters")
    id: str | None = None
    id_pattern: str | None = None


@dataclass(frozen=True, slots=True)
class CallId:
    """The call's id behind a marker, or nothing; a grammar leaves the choice where the marker is a token.

    Args:
        begin: The marker.
        pattern: What a grammar writes as id.
    """

    begin: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Maybe:
    """One of a few texts, or none; a grammar writes the first."""

    texts: tuple[str, ...]


Part: TypeAlias = str | Name | Arguments | Parameters | Keywords | CallObject | CallId | Maybe


@dataclass(frozen=True, slots=True)
class Block:
    """One or several calls in a row.

    Args:
        call: A call's parts in order. Texts after the arguments may be missing: a call is whole when its arguments are.
        begin: What begins the block; where it is empty, the first call does.
        end: What ends it, if anything does; it may be missing.
        brackets: Around the calls, where they are a list with commas.
        needs_brackets: Whether a single call must stand in brackets, too.
        writes_brackets: Whether a grammar writes them around a single call.
        holds_several: Whether a grammar writes several calls into one block, instead of a block for each.
        separator: Between calls that are no list.
        at_start: Whether it counts only where an answer begins.
    """

    call: tuple[Part, ...]
    begin: str = ""
    end: str = ""
    brackets: tuple[str, str] | None = None
    needs_brackets: bool = False
    writes_brackets: bool = False
    holds_several: bool = False
    separator: str = ""
    at_start: bool = False

    @property
    def marker(self) -> str:
        """The text that tells that the block begins."""
        if self.begin:
            return self.begin.strip()
        if self.brackets is not None:
            return self.brackets[0]
        return self.call_marker

    @property
    def call_marker(self) -> str:
        """The text that a call begins with; empty where that is its name."""
        first = self.call[0]
        if isinstance(first, str):
            return first.strip()
        return "{" if isinstance(first, CallObject) else ""


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """How a family of models writes calls of functions.

    Args:
        name: What it is called here.
        found_by: Texts that stand in the chat templates of its models, each group of them enough.
        blocks: What calls look like; where several begin alike, the first that fits. A grammar writes the first.
        silent: Markers that are no part of an answer.
        make_id: Makes the id of a call that has none.
    """

    name: str
    found_by: tuple[tuple[str, ...], ...]
    blocks: tuple[Block, ...]
    silent: tuple[str, ...] = ()
    make_id: Callable[[], str] | None = None

    @property
    def trigger(self) -> str:
        """The text that tells that calls begin as a grammar writes them; empty where nothing does for sure."""
        block = self.blocks[0]
        return block.begin.strip() or (block.call_marker if isinstance(block.call[0], str) else "")

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts that may stand around a call."""
        around = [text for block in self.blocks for text in (block.begin, block.end)]
        inside = [text for block in self.blocks for part in block.call for text in _texts_of(part)]
        return (*around, *inside, *self.silent)


def _texts_of(part: Part) -> tuple[str, ...]:
    match part:
        case str():
            return (part,)
        case Maybe(texts):
            return texts
        case Parameters():
            return (part.begin, *part.after_key, part.end)
        case Arguments(syntax):
            return syntax.quotes
        case CallId(begin):
            return (begin,)
        case _:
            return ()


@dataclass(frozen=True, slots=True)
class ReasoningFormat:
    """How a family of models marks what it thinks before it answers.

    Args:
        found_by: Texts that stand together in the chat templates of its models.
        begin: What begins reasoning.
        end: What ends it.
        then: What a grammar writes between reasoning and what follows it.
        answer_begins: What may stand before an answer in words; a grammar leaves the choice.
        answer_end: What may stand behind it.
    """

    found_by: tuple[str, ...]
    begin: str
    end: str
    then: str = ""
    answer_begins: tuple[str, ...] = ()
    answer_end: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts that may stand around reasoning."""
        return (*self.markers, self.end, self.then)

    @property
    def markers(self) -> tuple[str, ...]:
        """The texts that tell in an answer what it is."""
        return (self.begin, *self.answer_begins, self.answer_end)
