"""Tools and reasoning: what models write in place of plain text, taken apart, and the functions that they may call.

Knows texts, schemas and Python's functions; no tokenizer, model or engine.
"""

from __future__ import annotations

from genai.tools.choice import ToolChoice, ToolChoiceLike
from genai.tools.delta import Answer, AnswerDelta, AnswerParts, ToolCallDelta
from genai.tools.format import ReasoningFormat, ToolFormat
from genai.tools.formats import FORMATS, GENERIC, find_format
from genai.tools.function import Tool, ToolLike, as_tools, tool
from genai.tools.grammar import grammar_of_calls
from genai.tools.parser import AnswerParser, parse_answer
from genai.tools.plain_prompt import tell_tools
from genai.tools.reasoning import find_reasoning, opens_reasoning

__all__ = [
    "FORMATS",
    "GENERIC",
    "Answer",
    "AnswerDelta",
    "AnswerParser",
    "AnswerParts",
    "ReasoningFormat",
    "Tool",
    "ToolCallDelta",
    "ToolChoice",
    "ToolChoiceLike",
    "ToolFormat",
    "ToolLike",
    "as_tools",
    "find_format",
    "find_reasoning",
    "grammar_of_calls",
    "opens_reasoning",
    "parse_answer",
    "tell_tools",
    "tool",
]
