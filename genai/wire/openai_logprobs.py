"""Log-probabilities as OpenAI's chat completions and completions write them, and a prompt's as vLLM does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genai.engine import GenerationResult, TokenLogprob
from genai.text import Tokenizer

__all__ = ["chat_logprobs", "prompt_logprobs", "text_logprobs"]

_UNREPRESENTABLE = "\N{REPLACEMENT CHARACTER}"


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
    token_ids = [entry.token_id for entry in entries]
    if prompt is None:
        offsets, _ = _offsets(token_ids, tokenizer, start=0)
        return _text_logprobs(token_ids, entries, offsets, tokenizer)
    before, known = prompt.prompt_token_ids, prompt.prompt_logprobs or ()
    missing = [None] * (len(before) - len(known))  # it may have ended before its prompt was read
    starts, end = _offsets(before, tokenizer, start=0)
    offsets, _ = _offsets(token_ids, tokenizer, start=end)
    return _text_logprobs([*before, *token_ids], [*known, *missing, *entries], [*starts, *offsets], tokenizer)


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


def _offsets(token_ids: Sequence[int], tokenizer: Tokenizer, *, start: int) -> tuple[list[int], int]:
    """Return where each token begins in a text, and where the last one ends.

    A token that is a part of a character begins where that does, a special one, which is not shown, where the next one does.
    """
    detokenizer = tokenizer.detokenizer()
    offsets = []
    for token_id in token_ids:
        offsets.append(start)
        start += len(detokenizer.push(token_id))
    return offsets, start + len(detokenizer.finish())


def _text_of(token_id: int, tokenizer: Tokenizer) -> str:
    return tokenizer.decode([token_id], skip_special_tokens=False)
