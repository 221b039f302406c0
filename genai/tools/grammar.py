"""Grammars of calls: what a model may write so that every call is one of a function that exists, with arguments of its schema.

A grammar is text, in llguidance's dialect of Lark; whoever constrains sampling compiles it. Markers that are single
tokens of a vocabulary are written as such, since a text never stands for one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from genai.errors import OptionError
from genai.tools.format import (
    Arguments,
    Block,
    CallId,
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
from genai.tools.grammar_rules import SPACE, PrepareSchema, Rules
from genai.tools.grammar_values import ValueRules
from genai.tools.schema import parameters_of, resolve, types_of
from genai.tools.values import JSON, PYTHON

__all__ = ["grammar_of_calls"]

_LINE_BREAK = '"\\n"?'


def grammar_of_calls(
    tool_format: ToolFormat,
    tools: Sequence[Tool],
    *,
    tokens: Mapping[str, int] | None = None,
    reasoning: ReasoningFormat | None = None,
    is_reasoning: bool = False,
    is_single: bool = False,
    is_begun: bool = False,
    ends: frozenset[str] = frozenset(),
    prepare: PrepareSchema | None = None,
) -> str:
    """Return the grammar of an answer that consists of calls.

    Args:
        tool_format: How calls are written.
        tools: The functions that may be called; at least one.
        tokens: Ids of the texts that are tokens of their own, such as special tokens.
        reasoning: How the model may reason before.
        is_reasoning: Whether the prompt has begun the reasoning already.
        is_single: Whether there is exactly one call, instead of one or several.
        is_begun: Whether the answer begins in the token in which the format's `trigger` does, whatever stands before that.
        ends: Tokens that end an answer, which a grammar must not ask for.
        prepare: Changes schemas so that they are enforced wholly, or refuses them.

    Raises:
        OptionError: A schema is refused; the message names the function.
    """
    rules = Rules(tokens or {}, left_out=ends, prepare=prepare, is_lenient=is_begun)
    block = tool_format.blocks[0]
    call = _any_call(rules, block.call, tools)
    each = _block(rules, block, rules.marker(block.begin), call, is_single=is_single)
    answer = each
    if is_begun:
        rest = call if block.begin else _any_call(rules, block.call[1:], tools)
        answer = _block(rules, block, _begin_of(rules, tool_format), rest, is_single=is_single)
    elif reasoning is not None:
        answer = f"{reasoning_before(rules, reasoning, is_open=is_reasoning)} {each}"
    is_one_block = is_single or block.holds_several or block.writes_brackets
    if not is_one_block and (block.begin or block.brackets is None):
        answer += f' ("\\n"? {rules.add("block", each)})*'
    return rules.write(answer)


def _any_call(rules: Rules, parts: Sequence[Part], tools: Sequence[Tool]) -> str:
    calls = []
    for tool in tools:
        try:
            calls.append(rules.add("call", _call(rules, parts, tool)))
        except OptionError as error:
            raise OptionError(f"{tool.name}: {error}") from error
    return rules.add("any_call", " | ".join(calls))


def _begin_of(rules: Rules, tool_format: ToolFormat) -> str:
    """Return what stands for any text before a format's trigger, and the trigger with the space behind it."""
    first, trigger = tool_format.blocks[0], tool_format.trigger
    lead = rules.literal(trigger) if rules.begins_with_token(trigger) else rules.text_until(trigger)
    written = first.begin or str(first.call[0])
    return lead if written == trigger else f"{lead} {SPACE}"


def _block(rules: Rules, block: Block, begin: str, call: str, *, is_single: bool) -> str:
    """Return what stands for one block."""
    end = rules.marker(block.end)
    many = f"({rules.marker(', ')} {call})*"
    if block.brackets is not None:
        opening, closing = map(rules.literal, block.brackets)
        a_list = f"{opening} {call}{'' if is_single else f' {many}'} {closing}"
        if block.writes_brackets:
            return f"{begin} {a_list} {end}"
        if not begin:
            return call if is_single else f"({call} | {a_list})"
    return f"{begin} {call}{'+' if block.holds_several and not is_single else ''} {end}"


def _call(rules: Rules, parts: Sequence[Part], tool: Tool) -> str:
    return " ".join(filter(None, (_part(rules, part, tool) for part in parts)))


def _part(rules: Rules, part: Part, tool: Tool) -> str:
    match part:
        case str():
            return rules.marker(part)
        case Maybe():
            return rules.marker(part.texts[0])
        case Name():
            before, after = part.written
            return f"{rules.literal(before + tool.name)} {f'/{after}/' if after else ''}".strip()
        case CallId(begin, pattern):
            return f"({rules.literal(begin)} /{pattern}/)?" if rules.begins_with_token(begin) else ""
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
        return f"{rules.marker('{' + rest)} {arguments}"
    before, after = rules.literal(f'{{"{part.id}": "'), rules.marker(f'", {rest}')
    return f"{before} /{part.id_pattern}/ {after} {arguments}"


def _parameters(rules: Rules, part: Parameters, tool: Tool) -> str:
    required = tool.parameters.get("required") or ()
    written = []
    for name, schema in parameters_of(tool.parameters).items():
        begin = rules.marker(part.begin + name + "".join(part.after_key), right=_LINE_BREAK)
        parameter = f"{begin} {_parameter_value(rules, part.end, schema, tool)}"
        written.append(parameter if name in required else f"({parameter})?")
    return " ".join(written)


def _parameter_value(rules: Rules, end: str, schema: Mapping[str, Any], tool: Tool) -> str:
    """Return what stands for a value and the end of its tag."""
    value = _bare_value(rules, schema, tool)
    return rules.marked_text(end) if value is None else f"{value} {rules.marker(end, left=_LINE_BREAK)}"


def _bare_value(rules: Rules, schema: Mapping[str, Any], tool: Tool) -> str | None:
    """Return what stands for a value, a text without quotes or JSON; None where that is any text."""
    if isinstance(reference := schema.get("$ref"), str):
        # Only to choices, as the enum of a model is one: other references may go in circles.
        target = resolve(reference, tool.parameters) or {}
        schema = target if "enum" in target else schema
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if values and all(isinstance(value, str) or value is None for value in values):
        return f"({' | '.join(rules.literal('null' if value is None else value) for value in values)})"
    if "string" not in types_of(schema, tool.parameters):
        definitions = {
            key: tool.parameters[key] for key in ("$defs", "definitions") if key in tool.parameters
        }
        return rules.json({**schema, **definitions})
    options = schema.get("anyOf") or schema.get("oneOf") or [True]
    bare = [_bare_value(rules, each, tool) if isinstance(each, Mapping) else None for each in options]
    return None if None in bare else f"({' | '.join(map(str, bare))})"


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a function's schema without room for arguments that it does not name, if it names any or none by intent."""
    if "properties" not in schema:
        return {"type": "object", **schema}
    return {"type": "object", "additionalProperties": False, **schema}
