"""Structured output: from a form that an answer must have to masks over the logits, through llguidance.

Knows tokenizers and token ids; knows no model, sampler or request.
"""

from __future__ import annotations

from genai.structured.compiler import GrammarCompiler
from genai.structured.constraint import GrammarConstraint
from genai.structured.grammar import Grammar

__all__ = ["Grammar", "GrammarCompiler", "GrammarConstraint"]
