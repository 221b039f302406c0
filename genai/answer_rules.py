"""What an answer must be: from a prompt and its options to what constrains each sequence, and reads what came.

A form that was asked for, calls that were; and where calls are left to the model, their grammar from where one begins.
Joins tools with structured output; knows no engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genai.chat_prompt import ChatPrompt
from genai.config import GenerationConfig, ResponseFormat
from genai.errors import OptionError
from genai.structured import (
    AnswerForm,
    Grammar,
    GrammarCompiler,
    GrammarConstraint,
    LateConstraint,
    Trigger,
    prepare_schema,
)
from genai.text import Tokenizer

__all__ = ["AnswerRules", "MadeRule"]


@dataclass(frozen=True, slots=True)
class MadeRule:
    """What keeps one answer to what it must be.

    Args:
        make_constraint: Makes the constraint of one sequence.
        parse: Reads what a complete text stands for; `None` where it stands for nothing but itself.
        keeps_calls: Whether it keeps calls to their format, once they have begun.
    """

    make_constraint: Callable[[], GrammarConstraint | LateConstraint]
    parse: Callable[[str], Any] | None = None
    keeps_calls: bool = False


class AnswerRules:
    """Makes the rules of one model's answers; grammars are compiled once and kept.

    Args:
        tokenizer: The model's tokenizer.
        eos_token_ids: What ends its answers, unless the options say otherwise.
    """

    def __init__(self, tokenizer: Tokenizer, eos_token_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._compiler = GrammarCompiler(tokenizer.backend, eos_token_ids)

    def make(self, prompt: ChatPrompt, config: GenerationConfig, ends: Sequence[int]) -> MadeRule | None:
        """Return what keeps the answer to a prompt to what it must be; `None` where it is free.

        Args:
            prompt: The prompt.
            config: The options.
            ends: The tokens that end the answer.

        Raises:
            OptionError: What is asked for cannot be enforced, or two options ask for it.
        """
        if prompt.must_call:
            grammar = self._compile(self._calls(prompt, config, ends), ends)
            return MadeRule(lambda: grammar.constraint(ends), keeps_calls=True)
        if config.response_format is not None:
            grammar = self._compile(self._form(config.response_format, prompt, ends), ends)
            return MadeRule(lambda: grammar.constraint(ends), grammar.parse)
        if not prompt.functions or not ends or config.ignore_eos:
            return None
        return self._late_calls(prompt, ends)

    def _calls(self, prompt: ChatPrompt, config: GenerationConfig, ends: Sequence[int]) -> AnswerForm:
        """Return what an answer is that must be calls."""
        if config.response_format is not None:
            raise OptionError(
                "tool_choice cannot be combined with response_format: both say what the answer must be; leave one of them out"
            )
        if config.ignore_eos:
            raise OptionError(
                "ignore_eos cannot be combined with a tool_choice that asks for a call, behind which the answer ends: leave "
                "one of them out"
            )
        try:
            frame = prompt.grammar_of_calls(self._tokens, self._texts_of(ends), prepare=_prepare)
        except OptionError as error:
            raise OptionError(f"tool_choice: {error}", option="tool_choice") from error
        return AnswerForm(None, frame=frame, option="tool_choice")

    def _form(self, form: ResponseFormat, prompt: ChatPrompt, ends: Sequence[int]) -> AnswerForm:
        """Return what an answer in a form is: that, behind what the model may or must think before."""
        if prompt.reasoning is None or not prompt.may_reason:
            return AnswerForm(form)
        from genai.tools import frame_of_answer

        frame = frame_of_answer(
            prompt.reasoning, is_open=prompt.is_reasoning, tokens=self._tokens, ends=self._texts_of(ends)
        )
        return AnswerForm(form, frame=frame, lead=prompt.reasoning.end if prompt.is_reasoning else "")

    def _late_calls(self, prompt: ChatPrompt, ends: Sequence[int]) -> MadeRule | None:
        """Return what keeps calls right that the model begins by itself; `None` where nothing can."""
        tool_format, reasoning = prompt.tool_format, prompt.reasoning
        if tool_format is None or not tool_format.trigger:
            return None
        trigger = Trigger(
            tool_format.trigger,
            hidden=None if reasoning is None else (reasoning.begin, reasoning.end),
            is_hidden=prompt.is_reasoning,
        )
        try:
            frame = prompt.grammar_of_calls(
                self._tokens, self._texts_of(ends), is_begun=True, prepare=_prepare
            )
            grammar = self._compiler.compile(AnswerForm(None, frame=frame, option="tools"), ends)
        except OptionError:  # nobody has asked for it
            return None
        return MadeRule(lambda: grammar.late_constraint(trigger, ends), keeps_calls=True)

    def _compile(self, answer: AnswerForm, ends: Sequence[int]) -> Grammar:
        if not ends:
            raise OptionError(
                f"{answer.option} needs a token that ends the text, and eos_token_ids names none: leave eos_token_ids out",
                option=answer.option,
            )
        try:
            return self._compiler.compile(answer, ends)
        except OptionError as error:
            error.option = answer.option
            raise

    @property
    def _tokens(self) -> Mapping[str, int]:
        return self._tokenizer.added_tokens

    def _texts_of(self, ends: Sequence[int]) -> frozenset[str]:
        return frozenset(text for text, token_id in self._tokens.items() if token_id in ends)


def _prepare(schema: Mapping[str, Any]) -> dict[str, Any]:
    return prepare_schema(json.dumps(schema))
