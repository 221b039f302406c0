"""Log-probabilities as OpenAI's chat completions and completions write them, and a prompt's as vLLM does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genai.engine import GenerationResult, TokenLogprob
from genai.text import Tokenizer

__all__ = ["TextPlaces", "chat_logprobs", "more_text_logprobs", "prompt_logprobs", "text_logprobs"]

_UNREPRESENTABLE = "\N{REPLACEMENT CHARACTER}"


class TextPlaces:
    """Says where the tokens of a text begin, as it grows.

    A token that is a part of a character begins where that does, a special one, which is not shown, where the next one does.

    Args:
        tokenizer: The model's.
        start: Where the text begins.
    """

    def __init__(self, tokenizer: Tokenizer, *, start: int = 0) -> None:
        self._tokenizer = tokenizer
        self._detokenizer = tokenizer.detokenizer()
        self._end = start

    def of(self, token_ids: Sequence[int]) -> list[int]:
        """Return where the next tokens begin."""
        offsets = []
        for token_id in token_ids:
            offsets.append(self._end)
            self._end += len(self._detokenizer.push(token_id))
        return offsets

    def behind(self) -> TextPlaces:
        """Return those of another text that follows this one, which has ended."""
        return TextPlaces(self._tokenizer, start=self._end + len(self._detokenizer.finish()))


def chat_logprobs(entries: Sequence[TokenLogprob], tokenizer: Tokenizer) -> dict[str, Any]:
    """Return an answer's log-probabilities in the form of chat completions."""

    def token(token_id: int, logprob: float) -> dict[str, Any]:
        text = _text_of(token_id, tokenizer)
        exact = None if _UNREPRESENTABLE in text else list(text.encode())
        return {"token": text, "logprob": logprob, "bytes": exact}

    return {
        "content": [
            {
                **token(entry.token_id, entry.logprob),
                "top_logprobs": [token(token_id, logprob) for token_id, logprob in entry.top_logprobs],
            }
            for entry in entries
        ]
    }


def text_logprobs(
    entries: Sequence[TokenLogprob], tokenizer: Tokenizer, *, prompt: GenerationResult | None = None
) -> dict[str, Any]:
    """Return a continuation's log-probabilities in the form of completions.

    Args:
        entries: Those of the tokens that were generated.
        tokenizer: The model's.
        prompt: Where the text begins with the prompt, the result that has its log-probabilities, the first of which is null.
    """
    places = TextPlaces(tokenizer)
    token_ids = [entry.token_id for entry in entries]
    if prompt is None:
        return _text_logprobs(token_ids, entries, places.of(token_ids), tokenizer)
    before, known = prompt.prompt_token_ids, prompt.prompt_logprobs or ()
    missing = [None] * (len(before) - len(known))  # it may have ended before its prompt was read
    offsets = [*places.of(before), *places.behind().of(token_ids)]
    return _text_logprobs([*before, *token_ids], [*known, *missing, *entries], offsets, tokenizer)


def more_text_logprobs(
    entries: Sequence[TokenLogprob], tokenizer: Tokenizer, places: TextPlaces
) -> dict[str, Any]:
    """Return the log-probabilities of the next piece of a continuation, as `text_logprobs` has those of all."""
    token_ids = [entry.token_id for entry in entries]
    return _text_logprobs(token_ids, entries, places.of(token_ids), tokenizer)


def prompt_logprobs(
    entries: Sequence[TokenLogprob | None], tokenizer: Tokenizer
) -> list[dict[str, Any] | None]:
    """Return a prompt's log-probabilities as vLLM has them: for each token, those by token id."""
    return [None if entry is None else _by_token_id(entry, tokenizer) for entry in entries]


def _by_token_id(entry: TokenLogprob, tokenizer: Tokenizer) -> dict[str, Any]:
    rank_of = {token_id: rank for rank, (token_id, _) in enumerate(entry.top_logprobs, start=1)}
    return {
        str(token_id): {
            "logprob": logprob,
            "rank": rank_of.get(token_id),
            "decoded_token": _text_of(token_id, tokenizer),
        }
        for token_id, logprob in {entry.token_id: entry.logprob, **dict(entry.top_logprobs)}.items()
    }


def _text_logprobs(
    token_ids: Sequence[int],
    entries: Sequence[TokenLogprob | None],
    offsets: Sequence[int],
    tokenizer: Tokenizer,
) -> dict[str, Any]:
    return {
        "tokens": [_text_of(token_id, tokenizer) for token_id in token_ids],
        "token_logprobs": [entry and entry.logprob for entry in entries],
        "top_logprobs": [
            entry and {_text_of(token_id, tokenizer): logprob for token_id, logprob in entry.top_logprobs}
            for entry in entries
        ],
        "text_offset": list(offsets),
    }


def _text_of(token_id: int, tokenizer: Tokenizer) -> str:
    return tokenizer.decode([token_id], skip_special_tokens=False)
