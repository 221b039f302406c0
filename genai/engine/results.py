"""What a generation gives back: pieces while it runs, a result when it has ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from genai.config import CutCall, Message, ToolCall
from genai.tools import ToolCallDelta

__all__ = ["Choice", "FinishReason", "GenerationResult", "GenerationStats", "Piece", "TokenLogprob"]

FinishReason = Literal["stop", "length", "cancelled"]
"""Why a sequence ended: a stop token or text; a length or context limit; a caller who wanted no more."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How likely the model found one token, generated or of the prompt.

    Args:
        token_id: The token.
        logprob: Its log-probability under the model, before any option changed the distribution.
        top_logprobs: The most likely (token id, log-probability) pairs at that place, best first.
    """

    token_id: int
    logprob: float
    top_logprobs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """What a stream yields: text that can no longer change, with the tokens it came from.

    Args:
        text: The new text; the texts of all pieces joined are the result's text.
        token_ids: The tokens since the last piece.
        finish_reason: Why the sequence ended; None before the last piece.
        logprobs: One entry per token, if asked for.
        index: Which of several sequences of one prompt.
        reasoning: More of what the model thinks before it answers, in a conversation.
        tool_calls: Pieces of the functions that it wants called.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    index: int = 0
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()

    @classmethod
    def of_choice(cls, choice: Choice, index: int) -> Self:
        """Return a whole sequence as one piece."""
        return cls(
            choice.text,
            choice.token_ids,
            choice.finish_reason,
            choice.logprobs,
            index,
            choice.reasoning,
            tuple(ToolCallDelta.of(number, call) for number, call in enumerate(choice.all_calls)),
        )


@dataclass(frozen=True, slots=True)
class GenerationStats:
    """What a generation cost.

    Args:
        prompt_tokens: Tokens of the prompt.
        cached_prompt_tokens: How many of them were in the KV cache already.
        generated_tokens: Tokens generated, over all sequences of the prompt.
        time_to_first_token_seconds: From the request to its first token, waiting included.
        total_seconds: From the request to its end.
        tokens_per_second: Generated tokens after the first, over the time after the first; 0 for a single one.
        drafted_tokens: Tokens that were guessed and looked at by the model (speculative decoding).
        accepted_tokens: How many of them were right, and so did not take a step of their own.
        queue_seconds: From the request to its place in the KV cache; where it never got one, to its end.
    """

    prompt_tokens: int
    cached_prompt_tokens: int
    generated_tokens: int
    time_to_first_token_seconds: float
    total_seconds: float
    tokens_per_second: float
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    queue_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the sequences that a prompt was continued with.

    Args:
        text: The generated text, without the stop text or token.
        token_ids: The generated tokens, the stop token included.
        finish_reason: Why it ended.
        logprobs: One entry per token, if asked for.
        score: Beam search's score: the sum of log-probabilities over length ** length_penalty.
        parsed: What a text of a `response_format` stands for; see `GenerationResult`.
        reasoning: What the model thought before it answered, in a conversation; not part of the text.
        tool_calls: The functions that it wants called; not part of the text either.
        stop_text: Which text of `stop`, or what match of `stop_regex`, ended it; `None` where something else did.
        cut_call: The call behind these in which it ended.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprob, ...] | None = None
    score: float | None = None
    parsed: Any = None
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    stop_text: str | None = None
    cut_call: CutCall | None = None

    @property
    def all_calls(self) -> tuple[ToolCall | CutCall, ...]:
        """The calls, and behind them the one in which it ended."""
        return self.tool_calls if self.cut_call is None else (*self.tool_calls, self.cut_call)


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """How a prompt was continued.

    Args:
        text: The generated text, without the stop text or token.
        token_ids: The generated tokens, the stop token included.
        prompt_token_ids: The prompt's tokens.
        finish_reason: Why generation ended.
        stats: What it cost.
        logprobs: One entry per generated token, if asked for.
        choices: All sequences, best first, when more than one was asked for; the other fields are those of the first.
        parsed: What a text of a `response_format` stands for: the JSON value, an instance of the class that was given, or
            the text itself where it is no JSON. None where the text is not complete, because it ended for another reason
            than "stop", or was cut by a stop text.
        prompt_logprobs: One entry per token of the prompt, if asked for, `None` for the first; fewer where the prompt was
            not read to its end.
        reasoning: What the model thought before it answered, in a conversation; not part of the text.
        tool_calls: The functions that it wants called; not part of the text either.
        messages: Where `auto_call` has called functions: what was added to the conversation, this answer included.
        stop_text: Which text of `stop`, or what match of `stop_regex`, ended it; `None` where something else did.
        cut_call: The call behind `tool_calls` in which the answer ended, such as at max_new_tokens.
    """

    text: str
    token_ids: tuple[int, ...]
    prompt_token_ids: tuple[int, ...]
    finish_reason: FinishReason
    stats: GenerationStats
    logprobs: tuple[TokenLogprob, ...] | None = None
    choices: tuple[Choice, ...] = ()
    parsed: Any = None
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    messages: tuple[Message, ...] = ()
    stop_text: str | None = None
    cut_call: CutCall | None = None

    @property
    def message(self) -> Message:
        """The answer as a message, for a conversation that goes on."""
        return Message(
            "assistant",
            self.text,
            tool_calls=self.tool_calls or None,
            reasoning_content=self.reasoning or None,
        )
