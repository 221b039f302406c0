"""What values an option may have: each check names the option in its error, and tells its range to people, its schema to programs.

A check returns the value as it is kept: where several are meant, a single one becomes a tuple of one, as Hugging Face has it.
"""

from __future__ import annotations

from genai.config.checks.check import Check, as_tuple, one_or_several
from genai.config.checks.functions import Functions
from genai.config.checks.single import AnyOf, Flag, Integer, LastTokens, Name, Number
from genai.config.checks.texts import Prompt, Texts, Words
from genai.config.checks.tokens import Biases, Decay, SequenceBiases, TokenIds

__all__ = [
    "AnyOf",
    "Biases",
    "Check",
    "Decay",
    "Flag",
    "Functions",
    "Integer",
    "LastTokens",
    "Name",
    "Number",
    "Prompt",
    "SequenceBiases",
    "Texts",
    "TokenIds",
    "Words",
    "as_tuple",
    "one_or_several",
]
