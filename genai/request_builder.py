"""From what callers pass (texts, tokens or conversations, and options) to the requests that an engine runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

from genai.answer_rules import AnswerRules, MadeRule
from genai.chat_prompt import ChatPrompt
from genai.config import GenerationConfig, GenerationOptions, Message, ToolChoiceLike, plain_messages
from genai.config.checks import Flag
from genai.engine import Request, RequestTokenizer
from genai.errors import OptionError, TokenizerError
from genai.folder import ModelFolder
from genai.sampling import ReasoningLimit
from genai.text import Tokenizer, drop_oldest_turns

if TYPE_CHECKING:
    from genai.tools import AnswerReader, ToolLike

__all__ = [
    "ChatOptions",
    "ConfiguredOptions",
    "Conversation",
    "Messages",
    "RequestBuilder",
    "TokenIds",
    "Tools",
    "is_batch",
]

TokenIds: TypeAlias = Sequence[int | np.integer[Any]] | npt.NDArray[np.integer[Any]]
"""The tokens of one prompt."""
Messages: TypeAlias = Sequence[Message | Mapping[str, object]]
"""A conversation, oldest message first."""
Tools: TypeAlias = "Sequence[ToolLike]"
"""Functions that a model may call, or their JSON schemas in OpenAI's form."""


class ConfiguredOptions(GenerationOptions, total=False):
    """The options of a generation as keyword arguments, and `config`, whose options they change."""

    config: GenerationConfig | None


class ChatOptions(ConfiguredOptions, total=False):
    """What may go with a conversation, as keyword arguments.

    Beside the options of a generation and `config`: `tools`, functions that the model may call;
    `tool_choice`, whether it must ("none", "auto", "required", or a function's name); `template_options`, further
    variables of the model's chat template, such as enable_thinking; `continue_final_message`, whether the last message is
    the beginning of the answer, which goes on from there; `parallel_tool_calls`, whether an answer may call more than once.
    """

    tools: Tools | None
    tool_choice: ToolChoiceLike
    parallel_tool_calls: bool
    template_options: Mapping[str, object] | None
    continue_final_message: bool


class Conversation(TypedDict, total=False):
    """A conversation as keyword arguments: `messages`, and `tools` and `template_options` as in `ChatOptions`."""

    messages: Messages | None
    tools: Tools | None
    template_options: Mapping[str, object] | None


class RequestBuilder:
    """Makes requests for one model.

    Args:
        folder: The model's folder: its tokenizer, generation defaults and end-of-sequence ids.
        context_length: Most tokens per sequence.
    """

    def __init__(self, folder: ModelFolder, *, context_length: int) -> None:
        self._folder = folder
        self._context_length = context_length
        self._tokenizer: Tokenizer | None = None
        self._tokenizer_error = ""
        self._rules: AnswerRules | None = None
        try:
            self._tokenizer = Tokenizer.from_folder(folder.tokenizer_path)
        except TokenizerError as error:
            self._tokenizer_error = str(error)
            return
        self._rules = AnswerRules(self._tokenizer, folder.eos_token_ids)

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer.

        Raises:
            TokenizerError: The folder has none.
        """
        if self._tokenizer is None:
            raise TokenizerError(f"{self._tokenizer_error}; pass token_ids instead of text")
        return self._tokenizer

    def prompt(
        self,
        prompt: str | None = None,
        *,
        token_ids: TokenIds | None = None,
        messages: Messages | None = None,
        tools: Tools | None = None,
        tool_choice: ToolChoiceLike = "auto",
        parallel_tool_calls: bool = True,
        template_options: Mapping[str, object] | None = None,
        continue_final_message: bool = False,
        room: int | None = None,
    ) -> ChatPrompt:
        """Return one prompt, given as a text, as tokens, or as a conversation, and how its answer is read.

        Args:
            prompt: A text.
            token_ids: Its tokens.
            messages: A conversation.
            tools: The functions that go with it.
            tool_choice: Whether one must be called, and which.
            parallel_tool_calls: Whether one answer may call several.
            template_options: Further variables of the chat template.
            continue_final_message: Whether the answer goes on with the last message.
            room: Tokens beyond which the conversation's oldest turns are left out; see `room_for`.

        Raises:
            OptionError: Not exactly one of the three is given, or several prompts are; or it is not what it should be.
            ChatTemplateError: The model has no chat template, or it refuses the conversation.
        """
        if messages is None:
            is_set = tools is not None or template_options is not None or tool_choice != "auto"
            if is_set or not parallel_tool_calls or continue_final_message:
                raise OptionError(
                    "tools, tool_choice, parallel_tool_calls, template_options and continue_final_message are for a "
                    "conversation: pass messages, too"
                )
            return ChatPrompt(self.encode(prompt, token_ids=token_ids))
        if prompt is not None or token_ids is not None:
            raise OptionError("pass one of prompt, token_ids and messages")
        plain = plain_messages(messages)
        Flag()("parallel_tool_calls", parallel_tool_calls)
        variables = _template_variables(template_options, continue_final_message=continue_final_message)
        from genai.conversation import make_chat_prompt  # with what only conversations need

        def make(some: Sequence[Mapping[str, Any]]) -> ChatPrompt:
            return make_chat_prompt(
                self.tokenizer,
                some,
                tools=tools,
                tool_choice=tool_choice,
                parallel_tool_calls=parallel_tool_calls,
                variables=variables,
            )

        if room is None:
            return make(plain)
        return make(drop_oldest_turns(plain, lambda some: len(make(some).token_ids), room=room))

    def room_for(self, config: GenerationConfig | None, options: GenerationOptions) -> int | None:
        """Return how many tokens of a conversation leave room for an answer; `None` where all of it has to be taken.

        Raises:
            OptionError: An option is unknown or impossible.
        """
        _check_config(config)
        merged = (config or self._folder.generation).merge(**options)
        if merged.context_policy != "truncate_turns":
            return None
        half = self._context_length // 2
        return self._context_length - min(merged.max_new_tokens or half, half)

    def encode(self, prompt: str | None = None, *, token_ids: TokenIds | None = None) -> list[int]:
        """Return the tokens of one prompt, given as a text or as tokens.

        Raises:
            OptionError: Neither is given, or both, or several prompts are; or it is not what it should be.
        """
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

    def encode_continuation(
        self, text: str | None, context: str | None, token_ids: TokenIds | None = None
    ) -> tuple[list[int], int]:
        """Return the tokens of a text behind its context, and how many of the last ones have something before them.

        Raises:
            OptionError: No token is left, or both a text and tokens are given.
        """
        if context is not None and token_ids is not None:
            raise OptionError("context goes before a text: put its tokens into token_ids")
        ids = self.encode((context or "") + text if text is not None else None, token_ids=token_ids)
        num_before = 1 if context is None else max(len(self.encode(context)), 1)
        if len(ids) <= num_before:
            raise OptionError("there is no token to score: a text's first token has nothing before it")
        return ids, len(ids) - num_before

    def build(
        self,
        prompt: ChatPrompt,
        *,
        config: GenerationConfig | None,
        options: GenerationOptions,
        stream: bool,
        is_conversation: bool = False,
        priority: int = 0,
        client: str | None = None,
    ) -> Request:
        """Return the request to continue a prompt; what compiles a `response_format` is the caller's thread.

        Args:
            prompt: The prompt, and how its answer is read.
            config: Options; None takes the model's defaults.
            options: Options over those of `config`.
            stream: Whether pieces are wanted as they come.
            is_conversation: Whether the prompt is one, so that options about conversations mean something.
            priority: Who goes first: the lower.
            client: Whom it is served to.

        Raises:
            OptionError: An option is unknown or impossible.
            TokenizerError: An option needs a tokenizer, and the folder has none.
        """
        given: dict[str, Any] = {**options}
        _check_config(config)
        _check_turn(priority, client)
        if config is None:
            config = self._folder.generation
            given = {**self._folder.limits.options(len(prompt.token_ids), given), **given}
        config = config.merge(**given)
        self._check(config, is_conversation=is_conversation)
        stop_texts = self._special_stops(config)
        config = _with_special_stops(config, stop_texts)
        rule = None if self._rules is None else self._rules.make(prompt, config, self._end_token_ids(config))
        make_parser = _make_parser(prompt, config, rule)
        return Request(
            prompt.token_ids,
            config,
            tokenizer=self._answer_tokenizer(
                prompt,
                is_verbatim=rule is not None or bool(prompt.functions),
                is_parsed=make_parser is not None,
            ),
            eos_token_ids=self._folder.eos_token_ids,
            stream=stream,
            make_constraint=None if rule is None else rule.make_constraint,
            parse=None if rule is None else rule.parse,
            make_reasoning_limit=self._reasoning_limit(prompt, config.max_reasoning_tokens),
            make_parser=make_parser,
            ends_at_call=prompt.calls_once and bool(prompt.functions) and not (rule and rule.keeps_calls),
            adapter=config.adapter,
            priority=priority,
            client=client,
            stop_texts=stop_texts,
        )

    def _check(self, config: GenerationConfig, *, is_conversation: bool) -> None:
        if config.context_policy == "truncate_turns" and not is_conversation:
            raise OptionError(
                'context_policy "truncate_turns" is for a conversation: pass messages, or leave it out'
            )
        if config.echo and is_conversation:
            raise OptionError(
                "echo is for plain prompts: the prompt of a conversation is no part of an answer"
            )
        names = ("stop", "stop_regex", "dry_multiplier", "echo", "response_format")
        needing = [name for name in names if getattr(config, name)]
        needing += ["bad_words"] * any(isinstance(word, str) for word in config.bad_words)
        if isinstance(config.negative_prompt, str):
            needing.append("negative_prompt")
        if needing and self._tokenizer is None:
            raise TokenizerError(f"{' and '.join(needing)} needs a tokenizer: {self._tokenizer_error}")

    def _special_stops(self, config: GenerationConfig) -> dict[int, str]:
        """Return the texts of `stop` that are special tokens, which no answer's text shows, by token."""
        if self._tokenizer is None:
            return {}
        ids = {self._tokenizer.added_tokens.get(text): text for text in config.stop}
        return {i: text for i, text in ids.items() if i is not None and i in self._tokenizer.special_ids}

    def _answer_tokenizer(
        self, prompt: ChatPrompt, *, is_verbatim: bool, is_parsed: bool
    ) -> RequestTokenizer | None:
        """Return what reads an answer's tokens: as they are where it has a form or may hold calls, and with its markers."""
        if self._tokenizer is None:
            return None
        tokenizer = self._tokenizer.verbatim if is_verbatim else self._tokenizer
        return tokenizer.keeping(prompt.kept_ids) if prompt.kept_ids and is_parsed else tokenizer

    def _end_token_ids(self, config: GenerationConfig) -> tuple[int, ...]:
        eos = self._folder.eos_token_ids if config.eos_token_ids is None else config.eos_token_ids
        return (*eos, *config.stop_token_ids)

    def _reasoning_limit(self, prompt: ChatPrompt, limit: int | None) -> Callable[[], ReasoningLimit] | None:
        if limit is None:
            return None
        if prompt.reasoning is None:
            raise OptionError(
                "max_reasoning_tokens needs a conversation, and a model whose chat template marks reasoning; leave it out"
            )
        begin, end = (
            self.tokenizer.encode(text, add_special_tokens=False)
            for text in (prompt.reasoning.begin, prompt.reasoning.end)
        )
        if len(end) != 1:
            raise OptionError(
                f'max_reasoning_tokens needs the end of reasoning, "{prompt.reasoning.end}", to be one token, and in this '
                f"model's vocabulary it is {len(end)}; leave it out"
            )

        def is_space(token_id: int) -> bool:
            return self.tokenizer.decode([token_id], skip_special_tokens=False).isspace()

        return lambda: ReasoningLimit(
            limit, begin=begin, end=end[0], is_open=prompt.is_reasoning, is_space=is_space
        )


def _with_special_stops(config: GenerationConfig, special: Mapping[int, str]) -> GenerationConfig:
    """Return the options with these texts among the ids that end an answer."""
    if not special:
        return config
    return config.merge(
        stop=[text for text in config.stop if text not in special.values()],
        stop_token_ids=[*config.stop_token_ids, *special],
    )


def _make_parser(
    prompt: ChatPrompt, config: GenerationConfig, rule: MadeRule | None
) -> Callable[[], AnswerReader] | None:
    """Return what makes a parser of an answer; None where all of it is text."""
    if config.response_format is not None:
        return prompt.make_form_parser if prompt.may_reason else None
    if prompt.is_plain:
        return None
    return partial(prompt.make_parser, are_calls_sure=rule is not None and rule.keeps_calls)


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


def _check_config(config: object) -> None:
    if not isinstance(config, GenerationConfig | None):
        raise OptionError(
            f"config must be a GenerationConfig, not {config!r:.200}: pass options by name, or GenerationConfig(...)"
        )


def _check_turn(priority: object, client: object) -> None:
    if not isinstance(priority, int) or isinstance(priority, bool):
        raise OptionError(f"priority must be an integer, not {priority!r:.200}")
    if not isinstance(client, str | None):
        raise OptionError(f"client must be a text or None, not {client!r:.200}")


def _template_variables(
    options: Mapping[str, object] | None, *, continue_final_message: bool
) -> dict[str, object]:
    """Return the variables of a chat template that do not come from the conversation."""
    if not isinstance(options, Mapping | None):
        raise OptionError(f"template_options must be a mapping of names to values, not {options!r:.200}")
    variables = dict(options or {})
    if taken := variables.keys() & {"messages", "tools"}:
        raise OptionError(f"template_options must not hold {' and '.join(sorted(taken))}: pass it by itself")
    if continue_final_message:
        variables |= {"continue_final_message": True, "add_generation_prompt": False}
    return variables
