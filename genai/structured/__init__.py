"""Structured output: from what an answer must be to masks over the logits, through llguidance.

Knows tokenizers and token ids; knows no model, sampler or request.
"""

from __future__ import annotations

from genai.structured.answer_form import AnswerForm
from genai.structured.compiler import GrammarCompiler
from genai.structured.constraint import GrammarConstraint
from genai.structured.grammar import Grammar
from genai.structured.json_schema import prepare_schema
from genai.structured.late_constraint import LateConstraint
from genai.structured.marker_watch import Trigger

__all__ = [
    "AnswerForm",
    "Grammar",
    "GrammarCompiler",
    "GrammarConstraint",
    "LateConstraint",
    "Trigger",
    "prepare_schema",
]
