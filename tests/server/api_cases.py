"""Requests at random, from what a server says of itself: what it should take, and what it should not."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import hypothesis
import schemathesis
from schemathesis.checks import CHECKS

__all__ = ["run_cases"]

Document = Mapping[str, Any]
Mode = schemathesis.GenerationMode

_FIELDS_AT_ONCE = 4
"""Optional fields of a body that a case may have; of many together two nearly always exclude each other."""
_SECONDS = 60
_PROMPTS: Mapping[str, Any] = {
    "model": "demo",
    "messages": [{"role": "user", "content": "Hi"}],
    "max_tokens": 3,
    "prompt": "Hi",
    "tokens": [1],
    "input": "Hi",
}


def run_cases(url: str, document: Document, *, num_cases: int, seed: int) -> Counter[tuple[str, str, int]]:
    """Send about so many cases, and see that each is answered as the document says; return how often each status came.

    Args:
        url: Where the server is.
        document: What it says of itself.
        num_cases: How many cases there are.
        seed: What they are drawn by.
    """
    views = list(_views(document, random.Random(seed)))
    found: Counter[tuple[str, str, int]] = Counter()
    for view in views:
        schema = schemathesis.openapi.from_dict(view)
        schema.config.update(base_url=url)
        (operation,) = (each.ok() for each in schema.get_all_operations())
        for mode in (Mode.POSITIVE, Mode.NEGATIVE) if operation.body else (Mode.POSITIVE,):
            _run(operation, mode, max(num_cases // (2 * len(views)), 2), seed, found)
    return found


def _run(
    operation: schemathesis.APIOperation,
    mode: Mode,
    num_cases: int,
    seed: int,
    found: Counter[tuple[str, str, int]],
) -> None:
    # What excludes each other is refused with a 400, which no schema can say.
    excluded = CHECKS.get_by_names(["positive_data_acceptance"])

    source = random.Random(seed)

    def answer(case: schemathesis.Case) -> None:
        if mode is Mode.POSITIVE and isinstance(case.body, dict) and source.random() < 0.7:
            case.body = _simple(case.body, source)
        response = case.call(timeout=_SECONDS)
        found[operation.label, mode.value, response.status_code] += 1
        case.validate_response(response, excluded_checks=excluded)

    run = hypothesis.given(operation.as_strategy(mode))(answer)
    settings = hypothesis.settings(
        max_examples=num_cases,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.seed(seed)(settings(run))()


def _simple(body: dict[str, Any], source: random.Random) -> dict[str, Any]:
    """Return a body that will not be refused for its prompt, with one of the other fields of this one."""
    prompt = {name: _PROMPTS[name] for name in body if name in _PROMPTS}
    others = sorted(body.keys() - prompt.keys())
    return {**prompt, **{name: body[name] for name in source.sample(others, min(len(others), 1))}}


def _views(document: Document, source: random.Random) -> Iterator[dict[str, Any]]:
    """Yield the document of one operation after another, each with few optional fields, until all fields were there."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            view = {**document, "paths": {path: {method: operation}}}
            content = operation.get("requestBody", {}).get("content", {})
            body = content.get("application/json", {}).get("schema", {})
            if "properties" not in body:
                yield copy.deepcopy(view)
                continue
            required = body.get("required", [])
            refused = [
                name for name, each in body["properties"].items() if {"not": {}} in each.get("anyOf", ())
            ]
            optional = [name for name in body["properties"] if name not in (*required, *refused)]
            source.shuffle(optional)
            for begin in range(0, len(optional), _FIELDS_AT_ONCE):
                names = [*required, *optional[begin : begin + _FIELDS_AT_ONCE]]
                shown = copy.deepcopy(view)
                few = {name: body["properties"][name] for name in names}
                target = shown["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
                target["properties"] = copy.deepcopy(few)
                yield shown
