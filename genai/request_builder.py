"""From what callers pass (texts, tokens or conversations, and options) to the requests that an engine runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from genai.config import GenerationConfig, GenerationOptions, Message
from genai.engine import Request
from genai.errors import OptionError, TokenizerError
from genai.folder import ModelFolder
from genai.text import Tokenizer

__all__ = ["ChatOptions", "Messages", "RequestBuilder", "TokenIds", "Tools", "is_batch"]

TokenIds: TypeAlias = Sequence[int | np.integer[Any]] | npt.NDArray[np.integer[Any]]
"""The tokens of one prompt."""
Messages: TypeAlias = Sequence[Message | Mapping[str, object]]
"""A conversation, oldest message first."""
Tools: TypeAlias = Sequence[Mapping[str, object]]
"""JSON schemas of functions that a model may call, in OpenAI's form."""


class ChatOptions(GenerationOptions, total=False):
    """What may go with a conversation, as keyword arguments.

    Beside the options of a generation: `config`, whose options they change; `tools`, functions that the model may call;
    `template_options`, further variables of the model's chat template, such as enable_thinking.
    """

    config: GenerationConfig | None
    tools: Tools | None
    template_options: Mapping[str, object] | None


class RequestBuilder:
    """Makes requests for one model.

    Args:
        folder: The model's folder: its tokenizer, generation defaults and end-of-sequence ids.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self._folder = folder
        self._tokenizer: Tokenizer | None = None
        self._tokenizer_error = ""
        try:
            self._tokenizer = Tokenizer.from_folder(folder.tokenizer_path)
        except TokenizerError as error:
            self._tokenizer_error = str(error)

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer.

        Raises:
            TokenizerError: The folder has none.
        """
        if self._tokenizer is None:
            raise TokenizerError(f"{self._tokenizer_error}; pass token_ids instead of text")
        return self._tokenizer

    def encode(
        self,
        prompt: str | None = None,
        *,
        token_ids: TokenIds | None = None,
        messages: Messages | None = None,
        tools: Tools | None = None,
        template_options: Mapping[str, object] | None = None,
    ) -> list[int]:
        """Return the tokens of one prompt, given as a text, as tokens, or as a conversation.

        Raises:
            OptionError: Not exactly one of the three is given, or several prompts are; or it is not what it should be.
            ChatTemplateError: The model has no chat template, or it refuses the conversation.
        """
        if messages is None and (tools is not None or template_options is not None):
            raise OptionError("tools and template_options are for a conversation: pass messages, too")
        if messages is not None:
            if prompt is not None or token_ids is not None:
                raise OptionError("pass one of prompt, token_ids and messages")
            return self._encode_chat(messages, tools, template_options)
        if is_batch(prompt, token_ids):
            raise OptionError("one prompt is expected here, not a list: `generate` takes a list")
        return self.encode_prompts(prompt, token_ids)[0]

    def encode_prompts(
        self, prompt: str | Sequence[str] | None, token_ids: TokenIds | Sequence[TokenIds] | None
    ) -> list[list[int]]:
        """Return the tokens of one prompt, or of each of a list, given as texts or as tokens.

        Raises:
            OptionError: Neither is given, or both; or what is given is no text or no tokens.
        """
        if (prompt is None) == (token_ids is None):
            raise OptionError("pass either a prompt or token_ids")
        if isinstance(prompt, str):
            return [self.tokenizer.encode(prompt)]
        if prompt is not None:
            if not isinstance(prompt, Iterable):
                raise OptionError(f"prompt must be a text or a list of texts, not {prompt!r:.200}")
            return self.tokenizer.encode_batch(list(prompt))
        rows: Any = token_ids if is_batch(None, token_ids) else [token_ids]
        return [_checked_ids(row) for row in rows]

    def _encode_chat(
        self, messages: Messages, tools: Tools | None, template_options: Mapping[str, object] | None
    ) -> list[int]:
        if isinstance(messages, (str, Message, Mapping)):
            raise OptionError('messages must be a list of messages, such as [Message("user", "Hello")]')
        variables: dict[str, Any] = {**(template_options or {})}
        if taken := variables.keys() & {"messages", "tools"}:
            raise OptionError(
                f"template_options must not hold {' and '.join(sorted(taken))}: pass it by itself"
            )
        return self.tokenizer.encode_chat(messages, tools=tools, **variables)

    def build(
        self,
        token_ids: Sequence[int],
        *,
        config: GenerationConfig | None,
        options: GenerationOptions,
        stream: bool,
    ) -> Request:
        """Return the request to continue a prompt.

        Args:
            token_ids: The prompt.
            config: Options; None takes the model's defaults.
            options: Options over those of `config`.
            stream: Whether pieces are wanted as they come.

        Raises:
            OptionError: An option is unknown or impossible.
            TokenizerError: An option needs a tokenizer, and the folder has none.
        """
        given: dict[str, Any] = {**options}
        if config is None:
            config = self._folder.generation
            given = {**self._folder.limits.options(len(token_ids), given), **given}
        config = config.merge(**given)
        if (config.stop or config.bad_words) and self._tokenizer is None:
            raise TokenizerError(f"stop and bad_words need a tokenizer: {self._tokenizer_error}")
        return Request(
            token_ids,
            config,
            tokenizer=self._tokenizer,
            eos_token_ids=self._folder.eos_token_ids,
            stream=stream,
            adapter=config.adapter,
        )


def is_batch(prompt: str | Sequence[str] | None, token_ids: TokenIds | Sequence[TokenIds] | None) -> bool:
    """Whether a list of prompts is given, not one."""
    if prompt is not None:
        return not isinstance(prompt, str)
    if isinstance(token_ids, np.ndarray):
        return token_ids.ndim > 1
    if not isinstance(token_ids, Sequence) or not token_ids:
        return False
    return isinstance(token_ids[0], (Sequence, np.ndarray))


def _checked_ids(token_ids: object) -> list[int]:
    row = token_ids.tolist() if isinstance(token_ids, np.ndarray) else token_ids
    if not isinstance(row, Sequence):
        raise OptionError(f"token_ids must be a list of integers, or of such lists, not {token_ids!r}")
    for token_id in row:
        if not isinstance(token_id, (int, np.integer)) or isinstance(token_id, bool):
            raise OptionError(f"token_ids must be integers, or lists of integers, not {token_id!r}")
    return [int(token_id) for token_id in row]
