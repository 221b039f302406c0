"""What stands before an answer that has to be in a form, and behind it: reasoning and markers, as grammars."""

from __future__ import annotations

from collections.abc import Mapping

from genai.tools.format import ReasoningFormat
from genai.tools.grammar_rules import Rules

__all__ = ["frame_of_answer", "reasoning_before"]

_LINE_BREAKS = r"/\n{0,2}/"


def frame_of_answer(
    reasoning: ReasoningFormat,
    *,
    is_open: bool = False,
    tokens: Mapping[str, int] | None = None,
    ends: frozenset[str] = frozenset(),
) -> str:
    """Return the grammar of an answer in a form, which it calls `@form`, with the reasoning before it.

    `genai.tools.FormParser` takes such an answer apart.

    Args:
        reasoning: How the model marks what it thinks.
        is_open: Whether the prompt has begun the reasoning already.
        tokens: Ids of the texts that are tokens of their own, such as special tokens.
        ends: Tokens that end an answer, which reasoning cannot hold.
    """
    rules = Rules(tokens or {}, left_out=ends)
    begins = " | ".join(map(rules.literal, reasoning.answer_begins))
    before = f"({begins})? " if begins else ""
    end = rules.literal(reasoning.answer_end)
    after = f" ({end})?" if end else ""
    return rules.write(f"{reasoning_before(rules, reasoning, is_open=is_open)} {before}@form{after}")


def reasoning_before(rules: Rules, reasoning: ReasoningFormat, *, is_open: bool) -> str:
    """Return what stands for reasoning and what separates it from what follows; none of it where it is not open."""
    then = rules.literal(reasoning.then) or _LINE_BREAKS
    thought = f"{rules.thought_until(reasoning.end)} {then}"
    return thought if is_open else f"({rules.literal(reasoning.begin)} {thought})?"
