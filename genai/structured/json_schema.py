"""What is done to a JSON schema before llguidance compiles it: what it would let pass is refused or said another way.

llguidance refuses by itself every keyword that it knows and cannot enforce. Left to see to are keywords that are none, bounds that
repeated keys would escape, numbers that make its automata too large, and `oneOf` whose alternatives a key tells apart.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from genai.config.schema_keywords import check_keywords, subschemas
from genai.errors import OptionError

__all__ = ["prepare_schema"]

MAX_MULTIPLE = 20_000
"""Limit on the least common multiple of all `multipleOf`, digits behind the point aside: automata have as many states."""
MAX_TEXT = 10_000
"""Longest text of a `const`, an `enum` or a property's name: a forced text is looked at from its beginning at every token."""

MAX_COST = 2_000_000
_COSTS = {"properties": 1, "patternProperties": 60, "anyOf": 2, "oneOf": 2, "allOf": 2}
"""What compiling costs, by the square of how many entries a keyword has: all of a schema takes about a second at most."""


def prepare_schema(source: str) -> dict[str, Any]:
    """Return a schema that llguidance enforces wholly, or else refuses.

    Raises:
        OptionError: The schema asks for what cannot be enforced; the message names the keyword.
    """
    schema = json.loads(source)
    if "x-guidance" in schema:
        raise OptionError('"x-guidance" changes what is enforced')
    multiple, cost = 1, 0
    for part in subschemas(schema):
        check_keywords(part, "the schema")
        _check_properties(part)
        _check_texts(part)
        cost = _add_cost(cost, part)
        multiple = math.lcm(multiple, _multiple_of(part))
        if part.get("uniqueItems") is False:
            del part["uniqueItems"]
        if (
            isinstance(part.get("oneOf"), list)
            and "anyOf" not in part
            and _are_told_apart(part["oneOf"], schema)
        ):
            part["anyOf"] = part.pop("oneOf")
    if multiple > MAX_MULTIPLE:
        raise OptionError(
            f'the least common multiple of all "multipleOf" must be at most {MAX_MULTIPLE}, digits behind the point '
            f"aside, not {multiple}"
        )
    return dict(schema)


def _add_cost(cost: int, part: Mapping[str, Any]) -> int:
    for name, weight in _COSTS.items():
        if isinstance(part.get(name), (dict, list)):
            cost += weight * len(part[name]) ** 2
            if cost > MAX_COST:
                raise OptionError(
                    f'the schema is too large at "{name}" with {len(part[name])} entries: the limit is {MAX_COST}, counting '
                    f"the squares of all such numbers, times {weight} here"
                )
    return cost


def _check_properties(part: Mapping[str, Any]) -> None:
    least, required = part.get("minProperties"), part.get("required")
    num_required = len(set(map(str, required))) if isinstance(required, list) else 0
    if isinstance(least, int) and least > num_required + 1:
        raise OptionError(
            f'"minProperties" of {least} cannot be enforced, because a key may come twice: list the keys in "required"'
        )


def _check_texts(part: Mapping[str, Any]) -> None:
    names = part.get("properties")
    texts = itertools.chain(
        names if isinstance(names, dict) else (),
        part["enum"] if isinstance(part.get("enum"), list) else (),
        (part.get("const"),),
    )
    for text in texts:
        if isinstance(text, str) and len(text) > MAX_TEXT:
            raise OptionError(
                f"a text of {len(text)} characters is too long to be forced: the limit is {MAX_TEXT}"
            )


def _multiple_of(part: Mapping[str, Any]) -> int:
    value = part.get("multipleOf")
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
        return 1  # llguidance says what is wrong with it
    digits = Decimal(repr(value)).normalize()
    return int(digits.scaleb(max(0, -digits.as_tuple().exponent)))  # type: ignore[operator]  # of a finite number


def _are_told_apart(alternatives: list[Any], root: Mapping[str, Any]) -> bool:
    """Whether no value fits two of these, because a key that all of them require has other values in each."""
    objects = [_resolve(each, root) for each in alternatives]
    if not all(each.get("type") == "object" and isinstance(each.get("required"), list) for each in objects):
        return False
    shared = set.intersection(*(set(map(str, each["required"])) for each in objects))
    return any(_is_discriminator(key, objects) for key in shared)


def _is_discriminator(key: str, objects: list[Mapping[str, Any]]) -> bool:
    seen: set[str] = set()
    for each in objects:
        properties = each.get("properties")
        schema = properties.get(key) if isinstance(properties, dict) else None
        if not isinstance(schema, dict):
            return False
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            return False
        if seen & set(values):
            return False
        seen |= set(values)
    return True


def _resolve(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema, or what it refers to within the root's definitions."""
    if not isinstance(schema, dict):
        return {}
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    kind, _, name = reference.removeprefix("#/").partition("/")
    found = root.get(kind, {}).get(name) if kind in ("$defs", "definitions") else None
    return found if isinstance(found, dict) else {}
