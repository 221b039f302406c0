"""What stands before every text that a model reads."""

from __future__ import annotations

from genai.text.tokenizer import Tokenizer

__all__ = ["prefix_of"]


def prefix_of(tokenizer: Tokenizer) -> list[int]:
    """Return the tokens that the tokenizer puts before a text, such as the beginning-of-sequence token."""
    plain = tokenizer.encode("a", add_special_tokens=False)
    whole = tokenizer.encode("a")
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start]
    return []
