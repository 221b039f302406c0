"""The keywords of JSON Schema, drafts 4 to 2020-12: which there are, and behind which of them schemas stand.

Knows nothing of what can be enforced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from genai.errors import OptionError, did_you_mean

__all__ = ["TYPES", "check_keywords", "subschemas"]

TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")

_HOLDING_SCHEMAS_BY_NAME = (
    *("properties", "patternProperties", "$defs", "definitions"),
    *("dependentSchemas", "dependencies"),
)
_HOLDING_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_HOLDING_ONE = (
    *("items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties"),
    *("contains", "propertyNames", "not", "if", "then", "else", "contentSchema"),
)
_CHECKING = (
    *("type", "enum", "const", "format", "pattern", "minLength", "maxLength", "multipleOf"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems", "uniqueItems"),
    *("minContains", "maxContains", "minProperties", "maxProperties", "required", "dependentRequired"),
)
_REFERRING = (
    *("$schema", "$id", "id", "$ref", "$anchor", "$dynamicRef", "$dynamicAnchor"),
    *("$recursiveRef", "$recursiveAnchor", "$vocabulary"),
)
_TELLING = (
    *("title", "description", "default", "examples", "$comment", "deprecated", "readOnly", "writeOnly"),
    *("contentMediaType", "contentEncoding"),
    *("example", "discriminator", "externalDocs", "xml"),  # of OpenAPI
    *("markdownDescription", "enumDescriptions", "markdownEnumDescriptions", "enumNames"),  # of editors
    *("defaultSnippets", "errorMessage", "deprecationMessage", "doNotSuggest"),
    *("tsType", "allowTrailingCommas"),
)
_KEYWORDS = dict.fromkeys(
    (*_CHECKING, *_HOLDING_SCHEMAS_BY_NAME, *_HOLDING_LISTS, *_HOLDING_ONE, *_REFERRING, *_TELLING)
)


def subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and all schemas in it, not the data in it."""
    left: list[Any] = [schema]
    while left:
        part = left.pop()
        if not isinstance(part, dict):
            continue
        yield part
        for name in _HOLDING_SCHEMAS_BY_NAME:
            if isinstance(part.get(name), dict):
                left += part[name].values()
        for name in _HOLDING_LISTS:
            if isinstance(part.get(name), list):
                left += part[name]
        left += [part.get(name) for name in _HOLDING_ONE]


def check_keywords(schema: Mapping[str, Any], where: str) -> None:
    """See that a schema, leaving aside those in it, has no key that JSON Schema does not know, as a misspelt one.

    Raises:
        OptionError: It has one, which would check nothing.

    >>> check_keywords({"type": "object", "propertes": {}}, "the schema")
    Traceback (most recent call last):
    genai.errors.OptionError: the schema: "propertes" is no keyword of JSON Schema. Did you mean "properties"?
    """
    for key in schema:
        if key not in _KEYWORDS and not str(key).startswith("x-"):
            hint = did_you_mean(str(key), _KEYWORDS) or ' What checks nothing is called "x-...".'
            raise OptionError(f'{where}: "{key}" is no keyword of JSON Schema.{hint}')
