"""Grammars of calls: what a model may write so that every call is one of a function that exists, with arguments of its schema.

A grammar is text, in llguidance's dialect of Lark; whoever constrains sampling compiles it. Markers that are single
tokens of a vocabulary are written as such, since a text never stands for one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from genai.tools.format import (
    Arguments,
    Block,
    CallObject,
    Keywords,
    Maybe,
    Name,
    Parameters,
    Part,
    ReasoningFormat,
    ToolFormat,
)
from genai.tools.function import Tool
from genai.tools.grammar_reasoning import reasoning_before
from genai.tools.grammar_rules import Rules
from genai.tools.grammar_values import ValueRules
from genai.tools.schema import parameters_of, types_of
from genai.tools.values import JSON, PYTHON

__all__ = ["grammar_of_calls"]


def grammar_of_calls(
    tool_format: ToolFormat,
    tools: Sequence[Tool],
    *,
    tokens: Mapping[str, int] | None = None,
    reasoning: ReasoningFormat | None = None,
    is_reasoning: bool = False,
    is_single: bool = False,
    ends: frozenset[str] = frozenset(),
) -> str:
    """Return the grammar of an answer that consists of calls.

    Args:
        tool_format: How calls are written.
        tools: The functions that may be called; at least one.
        tokens: Ids of the texts that are tokens of their own, such as special tokens.
        reasoning: How the model may reason before.
        is_reasoning: Whether the prompt has begun the reasoning already.
        is_single: Whether there is exactly one call, instead of one or several.
        ends: Tokens that end an answer, which a grammar must not ask for.
    """
    rules = Rules(tokens or {}, left_out=ends)
    block = tool_format.blocks[0]
    calls = " | ".join(rules.add("call", _call(rules, block.call, tool)) for tool in tools)
    call = rules.add("any_call", calls)
    answer = _block(rules, block, call, is_single=is_single)
    if reasoning is not None:
        answer = f"{reasoning_before(rules, reasoning, is_open=is_reasoning)} {answer}"
    return rules.write(answer)


def _block(rules: Rules, block: Block, call: str, *, is_single: bool) -> str:
    begin, end = rules.literal(block.begin), rules.literal(block.end)
    many = f"({rules.literal(', ')} {call})*"
    if block.brackets is not None:
        opening, closing = map(rules.literal, block.brackets)
        a_list = f"{opening} {call}{'' if is_single else f' {many}'} {closing}"
        if block.writes_brackets:
            return f"{begin} {a_list} {end}"
        if not block.begin:
            return call if is_single else f"({call} | {a_list})"
    if is_single:
        return f"{begin} {call} {end}"
    if block.holds_several:
        return f"{begin} {call}+ {end}"
    each = rules.add("block", f"{begin} {call} {end}")
    return f'{each} ("\\n"? {each})*'


def _call(rules: Rules, parts: Sequence[Part], tool: Tool) -> str:
    return " ".join(filter(None, (_part(rules, part, tool) for part in parts)))


def _part(rules: Rules, part: Part, tool: Tool) -> str:
    match part:
        case str():
            return rules.literal(part)
        case Maybe():
            return rules.literal(part.texts[0])
        case Name():
            before, after = part.written
            return f"{rules.literal(before + tool.name)} {f'/{after}/' if after else ''}".strip()
        case CallObject():
            return _call_object(rules, part, tool)
        case Parameters():
            return _parameters(rules, part, tool)
        case Keywords():
            values = ValueRules(rules, PYTHON, tool.parameters)
            return f'"(" {values.members(tool.parameters, key_end="=", separator=", ")} ")"'
        case Arguments(syntax) if syntax is JSON:
            return rules.json(_closed(tool.parameters))
        case Arguments(syntax):
            values = ValueRules(rules, syntax, tool.parameters)
            return f'"{{" {values.members(tool.parameters, key_end=":", separator=",")} "}}"'


def _call_object(rules: Rules, part: CallObject, tool: Tool) -> str:
    name, key = json.dumps(part.name), json.dumps(part.arguments[0])
    rest = f"{name}: {json.dumps(tool.name)}, {key}: "
    arguments = f'{rules.json(_closed(tool.parameters))} "}}"'
    if part.id is None or part.id_pattern is None:
        return f"{rules.literal('{' + rest)} {arguments}"
    before, after = rules.literal(f'{{"{part.id}": "'), rules.literal(f'", {rest}')
    return f"{before} /{part.id_pattern}/ {after} {arguments}"


def _parameters(rules: Rules, part: Parameters, tool: Tool) -> str:
    required = tool.parameters.get("required") or ()
    written = []
    for name, schema in parameters_of(tool.parameters).items():
        begin = rules.literal(part.begin + name + "".join(part.after_key))
        parameter = f"{begin} {_parameter_value(rules, part.end, schema, tool)}"
        written.append(parameter if name in required else f"({parameter})?")
    return " ".join(written)


def _parameter_value(rules: Rules, end: str, schema: Mapping[str, Any], tool: Tool) -> str:
    """Return what stands for a value and the end of its tag: a text without quotes, or JSON."""
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if values and all(isinstance(value, str) for value in values):
        choices = " | ".join(rules.literal(value) for value in values)
        return f"({choices}) {rules.literal(end)}"
    if "string" in types_of(schema, tool.parameters):
        return rules.text_until(end)
    definitions = {key: tool.parameters[key] for key in ("$defs", "definitions") if key in tool.parameters}
    return f"{rules.json({**schema, **definitions})} {rules.literal(end)}"


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a function's schema without room for arguments that it does not name."""
    return {"type": "object", "properties": {}, "additionalProperties": False, **schema}
