"""What every interface has in common: a body that was read is a request for texts, whose answer is written whole or as events.

A package beside this file knows one interface's bodies, and turns them into the values here; the server and `genai batch`
know nothing but these.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from genai.config import GenerationConfig
from genai.engine import GenerationResult, Piece
from genai.errors import GenaiError, OptionError
from genai.text import Tokenizer
from genai.wire.fields import BodyError
from genai.wire.framing import Framing
from genai.wire.thinking import Thinking

__all__ = ["AnswerEvents", "AnswerFacts", "CompletionRequest", "Event", "Exchange"]

Event = Mapping[str, Any]
"""One event of a stream: a JSON object."""


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """What a body asks for.

    Args:
        model: The model that it names.
        prompts: What to continue, each as keyword arguments of `Generator.build_request`; a conversation is one. Without
            any the model is only loaded, or let go where it is to stay for 0 seconds.
        options: The generation's options, for all of them.
        stream: Whether pieces are wanted as they come.
        names: What the body calls options, where it is another name.
        thinking: Whether the model is to think before it answers; `None` leaves it to the model.
        keep_alive: For how many seconds the model is to stay in memory afterwards; `None` leaves it to the server.
        num_context: How many tokens the context must have room for; `None` takes the model's.
    """

    model: str | None
    prompts: Sequence[Mapping[str, Any]]
    options: Mapping[str, Any]
    stream: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    thinking: Thinking | None = None
    keep_alive: float | None = None
    num_context: int | None = None

    @property
    def num_choices(self) -> int:
        """How many answers each prompt has."""
        return int(self.options.get("num_return_sequences", 1))

    def arguments(self, prompt: Mapping[str, Any], tokenizer: Callable[[], Tokenizer]) -> dict[str, Any]:
        """Return the arguments of `Generator.build_request` for one of the prompts.

        Args:
            prompt: One of `prompts`.
            tokenizer: Returns the model's, whose chat template is asked where thinking is.

        Raises:
            BodyError: The model is to think, and cannot.
        """
        thinking = {} if self.thinking is None else self.thinking.arguments(prompt, tokenizer())
        return {**prompt, **thinking, **self.options}

    def with_adapter(self, name: str) -> Self:
        """Return the same request for an adapter, unless it names one."""
        return dataclasses.replace(self, options={"adapter": name, **self.options})

    def check_options(self) -> None:
        """See that the options are possible, which building a request does, where there is a prompt.

        Raises:
            OptionError: One is not.
        """
        try:
            GenerationConfig().merge(**self.options)
        except OptionError as error:
            raise self.in_its_words(error) from error

    def in_its_words(self, error: OptionError) -> OptionError:
        """Return an error about options with the names that the body has for them."""
        if isinstance(error, BodyError):  # it has them
            return error
        message = re.sub(r"\w+", lambda word: self.names.get(word[0], word[0]), str(error))
        return type(error)(message, option=self.names.get(error.option or "", error.option))


@dataclass(frozen=True, slots=True)
class AnswerFacts:
    """What an answer says beside what was generated.

    Args:
        model: What the model is called.
        created: When it was asked for, in seconds since 1970.
        tokenizer: Returns the model's; called where the answer shows single tokens.
        num_prompt_tokens: Tokens of the prompts.
        load_seconds: How long the model took to be there.
        clock: Tells what time it is, in seconds since 1970, where parts of an answer say when they came.
    """

    model: str
    created: float
    tokenizer: Callable[[], Tokenizer]
    num_prompt_tokens: int = 0
    load_seconds: float = 0.0
    clock: Callable[[], float] = time.time


class AnswerEvents(Protocol):
    """Writes one streamed answer, whose events together say what the whole answer would; each is made once."""

    def begin(self) -> Iterable[Event]:
        """Return what comes before all pieces."""
        ...

    def of_piece(self, number: int, piece: Piece, /) -> Iterable[Event]:
        """Return what a piece of the answer to the prompt of this number adds."""
        ...

    def end(self, results: Sequence[GenerationResult], /) -> Iterable[Event]:
        """Return what comes behind all pieces, where all went well.

        Args:
            results: How each of the request's prompts was continued.
        """
        ...

    def fail(self, error: GenaiError, /) -> Iterable[Event]:
        """Return what comes last where something went wrong."""
        ...


class Exchange(Protocol):
    """One body of one interface, and how what it asks for is answered."""

    @property
    def request(self) -> CompletionRequest:
        """What it asks for."""
        ...

    @property
    def framing(self) -> Framing:
        """How the events of its stream are sent."""
        ...

    def answer(self, results: Sequence[GenerationResult], facts: AnswerFacts, /) -> dict[str, Any]:
        """Return the body that answers it.

        Args:
            results: How each of the request's prompts was continued.
            facts: What else is told.

        Raises:
            TokenizerError: There is none, and log-probabilities were asked for.
        """
        ...

    def events(self, facts: AnswerFacts, /) -> AnswerEvents:
        """Return what writes its answer while it comes."""
        ...
