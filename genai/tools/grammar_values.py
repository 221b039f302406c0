"""Values of a schema as Python and Gemma write them, as rules of a grammar; JSON has llguidance's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from genai.tools.grammar_rules import Rules
from genai.tools.schema import parameters_of, resolve, types_of
from genai.tools.values import PYTHON, ValueSyntax

__all__ = ["ValueRules"]

_INTEGER = r"/-?(0|[1-9][0-9]{0,17})/"
_NUMBER = r"/-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?/"
_PYTHON_STRING = r'/"([^"\\\n]|\\["\\nt])*"/'


class ValueRules:
    """Rules of values in one syntax.

    Args:
        rules: Takes the rules.
        syntax: How values are written.
        root: The schema that holds definitions.
    """

    def __init__(self, rules: Rules, syntax: ValueSyntax, root: Mapping[str, Any]) -> None:
        self._rules = rules
        self._syntax = syntax
        self._root = root
        self._is_python = syntax is PYTHON
        self._referred: dict[str, str] = {}

    def members(self, schema: Mapping[str, Any], *, key_end: str, separator: str) -> str:
        """Return what stands for the members of an object, in the schema's order; nothing where there are none.

        What is not required may be left out, which takes a rule for each place where the row may begin.
        """
        required = schema.get("required") or ()
        parameters = list(parameters_of(schema).items())
        between = self._rules.literal(separator)
        rest, begun = (
            '""',
            '""',
        )  # of the members from here on: the row, and the row after one that was written
        for name, each in reversed(parameters):
            key = name if not self._is_python or key_end == "=" else json.dumps(name)
            member = f"{self._rules.literal(key + key_end)} {self.value(each)}"
            first, later = f"{member} {begun}", f"{between} {member} {begun}"
            if name not in required:
                first, later = f"{first} | {rest}", f"{later} | {begun}"
            rest, begun = self._rules.add("members", first), self._rules.add("members", later)
        return rest

    def value(self, schema: Mapping[str, Any]) -> str:
        """Return what stands for a value."""
        if not isinstance(schema, Mapping):  # True is a schema, too
            return self._anything()
        if isinstance(reference := schema.get("$ref"), str):
            return self._refer(reference)
        if "const" in schema or "enum" in schema:
            values = [schema["const"]] if "const" in schema else schema["enum"]
            return f"({' | '.join(map(self._exactly, values))})"
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                return f"({' | '.join(self.value(option) for option in schema[key])})"
        kinds = types_of(schema, self._root)
        return f"({' | '.join(self._of_type(kind, schema) for kind in sorted(kinds))})"

    def _refer(self, reference: str) -> str:
        if reference not in self._referred:
            target = resolve(reference, self._root)
            name = self._referred[reference] = self._rules.reserve("referred")
            self._rules.define(name, self.value(target or {}))
        return self._referred[reference]

    def _of_type(self, kind: str, schema: Mapping[str, Any]) -> str:
        match kind:
            case "string":
                return self._string()
            case "integer":
                return _INTEGER
            case "number":
                return _NUMBER
            case "boolean":
                return f"({self._exactly(True)} | {self._exactly(False)})"
            case "null":
                return self._exactly(None)
            case "array":
                item = self.value(schema["items"]) if schema.get("items") else self._anything()
                return self._row("[", item, "]")
            case _ if parameters_of(schema):
                return f'"{{" {self.members(schema, key_end=":", separator=",")} "}}"'
            case _:
                member = f'{self._key()} ":" {self._anything()}'
                return self._row("{", member, "}")

    def _row(self, begin: str, item: str, end: str) -> str:
        between = '", "' if self._is_python else '","'
        return self._rules.add("row", f'"{begin}" ({item} ({between} {item})*)? "{end}"')

    def _anything(self) -> str:
        """Return what stands for any simple value: where the schema says nothing, that is enough."""
        kinds = ("string", "number", "boolean", "null")
        return self._rules.add("anything", " | ".join(self._of_type(kind, {}) for kind in kinds))

    def _string(self) -> str:
        if self._is_python:
            return self._rules.add("string", _PYTHON_STRING)
        quote = self._syntax.quotes[0]
        return self._rules.add("string", f"{self._rules.literal(quote)} {self._rules.text_until(quote)}")

    def _key(self) -> str:
        return self._string() if self._is_python else self._rules.add("key", "/[A-Za-z_][A-Za-z0-9_]*/")

    def _exactly(self, value: Any) -> str:
        if isinstance(value, str) and not self._is_python:
            quote = self._syntax.quotes[0]
            return self._rules.literal(f"{quote}{value}{quote}")
        written = (
            repr(value)
            if self._is_python and not isinstance(value, str)
            else json.dumps(value, ensure_ascii=False)
        )
        return self._rules.literal(written)
