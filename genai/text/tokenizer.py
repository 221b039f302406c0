"""The tokenizer of a model folder: text to token ids and back, and conversations to prompts.

Wraps the tokenizers library; equal to what transformers' AutoTokenizer does for the same folder, without needing it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self

import tokenizers

from genai.config import Message
from genai.errors import ChatTemplateError, OptionError
from genai.text.chat_template import ChatTemplate
from genai.text.detokenizer import Detokenizer, DetokenizerFactory, clean_up_spaces
from genai.text.tokenizer_files import TokenizerFiles, read_tokenizer_files

__all__ = ["KeepingTokenizer", "Tokenizer"]

MAX_TOKEN_ID = 2**32 - 1
MAX_TAIL = 20
MAX_OVERLAPPING = 64
"""Texts whose overlapping tokens are kept: one character's can be tens of thousands."""


class Tokenizer:
    """Turns text into token ids and back, as the model was trained to read them.

    Safe to share between threads; each sequence that is decoded as it comes needs a detokenizer of its own.

    Args:
        files: What the tokenizer's files say; `Tokenizer.from_folder` reads them.
    """

    def __init__(self, files: TokenizerFiles) -> None:
        self._files = files
        self._backend = files.backend
        self._overlapping = lru_cache(MAX_OVERLAPPING)(lambda text: tuple(self._find_overlapping(text)))
        self._detokenizers: dict[frozenset[int], DetokenizerFactory] = {}

    @classmethod
    def from_folder(cls, path: str | os.PathLike[str]) -> Self:
        """Read the tokenizer of a model folder or checkpoint.

        Raises:
            TokenizerError: The folder has no tokenizer.json, or a file in it cannot be read.
        """
        return cls(read_tokenizer_files(Path(path)))

    @cached_property
    def verbatim(self) -> Tokenizer:
        """The same, but what it decodes is not cleaned of spaces: a text in JSON, say, is as its tokens have it."""
        if not self._files.clean_up_spaces:
            return self
        return Tokenizer(dataclasses.replace(self._files, clean_up_spaces=False))

    # --- the vocabulary ---

    @property
    def backend(self) -> tokenizers.Tokenizer:
        """The tokenizers library's object, for those who compile something from a vocabulary; not to be changed."""
        return self._backend

    @property
    def vocab_size(self) -> int:
        """The number of tokens, added ones included (transformers' `len(tokenizer)`); a model may have more rows."""
        return self._backend.get_vocab_size(with_added_tokens=True)

    @property
    def special_tokens(self) -> Mapping[str, str]:
        """The named special tokens: `bos_token`, `eos_token`, `pad_token`, ... as far as the model has them."""
        return self._files.special_tokens

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids that `skip_special_tokens` leaves out of decoded text."""
        return self._files.special_ids

    @cached_property
    def added_tokens(self) -> Mapping[str, int]:
        """The ids of the texts that are tokens of their own, special ones and others, wherever they stand."""
        return {token.content: i for i, token in self._backend.get_added_tokens_decoder().items()}

    @property
    def bos_token_id(self) -> int | None:
        """The id of the token that begins a sequence, if the model has one."""
        return self._named_id("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        """The id of the tokenizer's end-of-sequence token; the model's configuration may name more."""
        return self._named_id("eos_token")

    @property
    def pad_token_id(self) -> int | None:
        """The id of the padding token, if the model has one."""
        return self._named_id("pad_token")

    def token_to_id(self, token: str) -> int | None:
        """Return a token's id, or `None` if the vocabulary does not have it."""
        return self._backend.token_to_id(token)

    def id_to_token(self, token_id: int) -> str | None:
        """Return a token as the vocabulary writes it, or `None` if there is no such id."""
        return self._backend.id_to_token(token_id) if 0 <= token_id <= MAX_TOKEN_ID else None

    # --- text to ids and back ---

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of a text.

        Args:
            text: Any text; a special token written in it becomes that token.
            add_special_tokens: Add what the model expects around a text, such as a beginning-of-sequence token.
                Leave it off for a rendered chat template, which has them already.

        Raises:
            OptionError: It is not a text.
        """
        return self.encode_batch([text], add_special_tokens=add_special_tokens)[0]

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[list[int]]:
        """Return the token ids of several texts, in parallel if there are many.

        Raises:
            OptionError: One of them is not a text.
        """
        for text in texts:
            _check_text(text)
        if len(texts) == 1:
            return [self._backend.encode(texts[0], add_special_tokens=add_special_tokens).ids]
        encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)
        return [encoding.ids for encoding in encodings]

    def decode(
        self,
        token_ids: Iterable[int],
        *,
        skip_special_tokens: bool = True,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str:
        """Return the text of token ids; ids beyond the vocabulary leave no trace.

        Args:
            token_ids: The ids, in order.
            skip_special_tokens: Leave out `special_ids`.
            clean_up_tokenization_spaces: Remove spaces before punctuation; `None` does as the model's files say.

        Raises:
            OptionError: An id is negative or no integer.
        """
        try:
            text = self._backend.decode(list(token_ids), skip_special_tokens=skip_special_tokens)
        except (OverflowError, TypeError) as error:
            raise OptionError(f"token ids must be integers >= 0: {error}") from error
        clean_up = clean_up_tokenization_spaces
        return (
            clean_up_spaces(text) if (self._files.clean_up_spaces if clean_up is None else clean_up) else text
        )

    def detokenizer(
        self, *, skip_special_tokens: bool = True, keep: frozenset[int] = frozenset()
    ) -> Detokenizer:
        """Return a fresh streaming detokenizer: its pieces joined equal `decode` of all ids.

        Args:
            skip_special_tokens: Leave out `special_ids`.
            keep: Special tokens that are not left out.
        """
        skipped = self.special_ids - keep if skip_special_tokens else frozenset()
        factory = self._detokenizers.get(skipped)
        if factory is None:
            factory = self._detokenizers[skipped] = DetokenizerFactory(
                self._backend.decoder,
                lambda token_id: None if token_id in skipped else self._backend.id_to_token(token_id),
                clean_up=self._files.clean_up_spaces,
            )
        return factory()

    def keeping(self, token_ids: Iterable[int]) -> KeepingTokenizer:
        """Return the tokenizer as it is where these special tokens are part of decoded text."""
        return KeepingTokenizer(self, frozenset(token_ids))

    # --- the tokens that a text may be part of ---

    def overlapping(self, text: str) -> Sequence[tuple[int, ...]]:
        """Return the token sequences that this text may be part of, each as short as can be.

        A token that holds the text is one by itself. One that ends with the text's beginning is one with the tokens of the
        rest, at most `MAX_TAIL` of them. What is found is kept for a while: it takes a pass over the vocabulary.
        """
        return self._overlapping(text)

    def _find_overlapping(self, text: str) -> Iterator[tuple[int, ...]]:
        tails = [
            (text[:n], tuple(self.encode(text[n:], add_special_tokens=False))) for n in range(1, len(text))
        ]
        for token_id, token in enumerate(self._token_texts):
            if text in token:
                yield (token_id,)
            else:
                for beginning, tail in tails:
                    if token.endswith(beginning):
                        yield (token_id, *tail[:MAX_TAIL])

    @cached_property
    def _token_texts(self) -> list[str]:
        """The text of every token."""
        ids = [[token_id] for token_id in range(self.vocab_size)]
        return self._backend.decode_batch(ids, skip_special_tokens=False)

    # --- conversations ---

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """The model's chat template, compiled when first asked for; `None` if it has none.

        Raises:
            ChatTemplateError: The template is wrong, or there are several and none is called "default".
        """
        return self._find_template(has_tools=False)

    @cached_property
    def _tool_template(self) -> ChatTemplate | None:
        return self._find_template(has_tools=True)

    def apply_chat_template(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> str:
        """Return a conversation as the prompt that the model was trained on; options as `ChatTemplate.render`.

        Raises:
            ChatTemplateError: The model has no chat template, or the template refuses the conversation.
        """
        return self.template_for(has_tools=tools is not None).render(messages, tools=tools, **options)

    def template_for(self, *, has_tools: bool) -> ChatTemplate:
        """Return the chat template of conversations with or without tools, which a folder may have apart.

        Raises:
            ChatTemplateError: The model has no chat template.
        """
        template = self._tool_template if has_tools else self.chat_template
        if template is None:
            raise ChatTemplateError(
                "this model has no chat template, so it cannot be talked to with messages: pass a plain prompt to "
                "generate instead, or put the template it was trained with into the folder as chat_template.jinja"
            )
        return template

    def encode_chat(self, messages: Sequence[Message | Mapping[str, Any]], **options: Any) -> list[int]:
        """Return the token ids of a conversation; options as `apply_chat_template`."""
        return self.encode(self.apply_chat_template(messages, **options), add_special_tokens=False)

    # --- inside ---

    def _named_id(self, name: str) -> int | None:
        token = self.special_tokens.get(name)
        return None if token is None else self._backend.token_to_id(token)

    def _find_template(self, *, has_tools: bool) -> ChatTemplate | None:
        """Choose among the folder's templates by transformers' rule."""
        sources = self._files.chat_templates
        if not sources:
            return None
        name = "tool_use" if has_tools and "tool_use" in sources else "default"
        if name not in sources:
            names = ", ".join(sorted(sources))
            raise ChatTemplateError(f'this model has chat templates ({names}), but none is called "default"')
        return ChatTemplate(sources[name], name=name, special_tokens=self.special_tokens)


class KeepingTokenizer:
    """A tokenizer whose decoded text keeps some special tokens, for those who read markers in it.

    Args:
        tokenizer: The tokenizer.
        kept: The special tokens that decoding does not leave out.
    """

    def __init__(self, tokenizer: Tokenizer, kept: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._kept = kept

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of a text; see `Tokenizer.encode`."""
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)

    def decode(self, token_ids: Iterable[int]) -> str:
        """Return the text of token ids, with the special tokens that are kept."""
        detokenizer = self.detokenizer()
        return "".join([*map(detokenizer.push, token_ids), detokenizer.finish()])

    def overlapping(self, text: str) -> Sequence[tuple[int, ...]]:
        """Return the token sequences that a text may be part of; see `Tokenizer.overlapping`."""
        return self._tokenizer.overlapping(text)

    def detokenizer(self) -> Detokenizer:
        """Return a fresh streaming detokenizer, which gives what `decode` does."""
        return self._tokenizer.detokenizer(keep=self._kept)


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise OptionError(f"a text to encode must be a string, not {text!r:.200}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise OptionError(
            f"a text to encode must be valid Unicode, but character {error.start} is {text[error.start]!r}"
        ) from error
