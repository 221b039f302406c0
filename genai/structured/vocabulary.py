"""A model's tokenizer as llguidance has it: the bytes of every token, in a trie."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from genai.errors import OptionError

if TYPE_CHECKING:
    import llguidance
    import tokenizers

__all__ = ["make_vocabulary"]


def make_vocabulary(backend: tokenizers.Tokenizer, eos_token_ids: Iterable[int]) -> llguidance.LLTokenizer:
    """Return llguidance's tokenizer; takes a second or two per 100,000 tokens.

    It ends texts with the first of `eos_token_ids` that the tokenizer has.

    Raises:
        OptionError: llguidance cannot tell which bytes a token stands for, or no token ends a text.
    """
    import llguidance

    size = backend.get_vocab_size(with_added_tokens=True)
    ends = [token_id for token_id in eos_token_ids if token_id < size]
    if not ends:
        raise OptionError(
            "it needs an end-of-sequence token of the tokenizer's, and the model has none: name one with eos_token_ids"
        )
    if backend.padding or backend.truncation:
        backend = backend.from_str(backend.to_str())
        backend.no_padding()
        backend.no_truncation()
    try:
        return llguidance.LLTokenizer(backend.to_str(), eos_token=ends[:1])
    except ValueError as error:
        raise OptionError(
            "it needs a tokenizer whose tokens stand for bytes (byte-level BPE, or SentencePiece's with "
            f"byte fallback), and this model's is another kind: {error}"
        ) from error
