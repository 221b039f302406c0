"""Tools and reasoning: what models write in place of plain text, taken apart, and the functions that they may call.

Knows texts, schemas and Python's functions; no tokenizer, model or engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from genai.tools.answer_reader import AnswerReader
from genai.tools.delta import Answer, AnswerDelta, AnswerParts, ToolCallDelta
from genai.tools.form_parser import FormParser
from genai.tools.format import ReasoningFormat, ToolFormat
from genai.tools.parser import AnswerParser, parse_answer
from genai.tools.settled_calls import SettledCalls

if TYPE_CHECKING:
    from genai.tools.choice import ToolChoice
    from genai.tools.formats import FORMATS, GENERIC, find_format
    from genai.tools.function import Tool, ToolLike, as_tools, tool
    from genai.tools.grammar import grammar_of_calls
    from genai.tools.grammar_reasoning import frame_of_answer
    from genai.tools.grammar_rules import PrepareSchema
    from genai.tools.plain_prompt import tell_tools, without_tool_roles
    from genai.tools.reasoning import find_reasoning, has_reasoned, opens_reasoning

__all__ = [
    "FORMATS",
    "GENERIC",
    "Answer",
    "AnswerDelta",
    "AnswerParser",
    "AnswerParts",
    "AnswerReader",
    "FormParser",
    "PrepareSchema",
    "ReasoningFormat",
    "SettledCalls",
    "Tool",
    "ToolCallDelta",
    "ToolChoice",
    "ToolFormat",
    "ToolLike",
    "as_tools",
    "find_format",
    "find_reasoning",
    "frame_of_answer",
    "grammar_of_calls",
    "has_reasoned",
    "opens_reasoning",
    "parse_answer",
    "tell_tools",
    "tool",
    "without_tool_roles",
]

# The engine needs none of these: they load with the first conversation.
_LAZY = {
    "FORMATS": "formats",
    "GENERIC": "formats",
    "PrepareSchema": "grammar_rules",
    "Tool": "function",
    "ToolChoice": "choice",
    "ToolLike": "function",
    "as_tools": "function",
    "find_format": "formats",
    "find_reasoning": "reasoning",
    "frame_of_answer": "grammar_reasoning",
    "grammar_of_calls": "grammar",
    "has_reasoned": "reasoning",
    "opens_reasoning": "reasoning",
    "tell_tools": "plain_prompt",
    "tool": "function",
    "without_tool_roles": "plain_prompt",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'genai.tools' has no attribute {name!r}")
    return getattr(importlib.import_module(f"genai.tools.{_LAZY[name]}"), name)
