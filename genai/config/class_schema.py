"""JSON schemas of classes, and instances of the classes from JSON.

Pydantic's models have their own means; a dataclass is read by the types of its fields (`annotations`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Protocol

from genai.config.annotations import Definitions, build_value, model_schema, schema_of_annotation
from genai.errors import OptionError

__all__ = ["ClassReader", "class_reader"]


class ClassReader(Protocol):
    """Makes instances of a class of JSON."""

    def schema(self) -> Mapping[str, Any]:
        """Return the JSON schema of its instances.

        Raises:
            OptionError: The class has none.
        """
        ...

    def read(self, text: str, /) -> Any:
        """Return the instance that a JSON text stands for.

        Raises:
            ValueError: The class refuses it.
        """
        ...


def class_reader(cls: type) -> ClassReader:
    """Return what reads instances of a class.

    Raises:
        OptionError: It is neither a pydantic model nor a dataclass.

    >>> @dataclasses.dataclass
    ... class Point:
    ...     x: int
    ...     label: str | None = None
    >>> reader = class_reader(Point)
    >>> reader.schema()["properties"]
    {'x': {'type': 'integer'}, 'label': {'anyOf': [{'type': 'string'}, {'type': 'null'}]}}
    >>> reader.read('{"x": 1}')
    Point(x=1, label=None)
    """
    if dataclasses.is_dataclass(cls):
        return _DataclassReader(cls)
    if hasattr(cls, "model_json_schema") and hasattr(cls, "model_validate_json"):
        return _PydanticReader(cls)
    raise OptionError(
        f"response_format must be a pydantic model or a dataclass where it is a class, not {cls.__qualname__}"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _PydanticReader:
    model: Any

    def schema(self) -> Mapping[str, Any]:
        try:
            return model_schema(self.model)
        except Exception as error:  # pydantic's own kinds, which need not be installed
            raise OptionError(
                f"response_format: {self.model.__qualname__} has no JSON schema: {error}"
            ) from error

    def read(self, text: str) -> Any:
        return self.model.model_validate_json(text)


@dataclasses.dataclass(frozen=True, slots=True)
class _DataclassReader:
    cls: Any

    def schema(self) -> Mapping[str, Any]:
        where, definitions = f"response_format: {self.cls.__qualname__}", Definitions()
        try:
            reference = schema_of_annotation(self.cls, where=where, definitions=definitions)
        except NameError as error:
            raise OptionError(f"{where}: its types cannot be read: {error}") from error
        (own, *others) = definitions.schemas.values()
        if not others and json.dumps(reference) not in json.dumps(own):  # nothing refers to it
            return dict(own)
        return {**reference, "$defs": definitions.schemas}

    def read(self, text: str) -> Any:
        try:
            return build_value(json.loads(text), self.cls, where="it")
        except OptionError as error:
            raise ValueError(f"the text is no {self.cls.__qualname__}: {error}") from error
