"""Results in a manifest: what has another shape than genai writes is passed over, and nothing fails for it."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest

from genai.errors import ModelFolderError
from genai.folder import Manifest, model_card
from tests.folder.test_model_card import EVALUATION, MANIFEST

VALIDATION = {
    "passed": True,
    "date": "2026-11-28T13:00:00+00:00",
    "checks": [{"name": "run", "status": "ok"}],
    "against": {"source": "owner/name", "revision": None},
}


def read(**entries: Any) -> Manifest:
    return Manifest.from_json({**MANIFEST.to_json(), **entries})


def test_results_of_the_shape_that_is_written_are_read() -> None:
    manifest = read(evaluation=EVALUATION, validation=VALIDATION)
    assert (manifest.evaluation, manifest.validation) == (EVALUATION, VALIDATION)
    assert "## Quality" in model_card(manifest)
    assert "Validated against `owner/name` in transformers on 2026-11-28: passed 1 checks." in model_card(
        manifest
    )
    bare = {key: value for key, value in EVALUATION.items() if key != "reference"}
    assert read(evaluation=bare).evaluation == bare, "what may be null may be missing"


def broken(values: Any) -> list[Any]:
    """Return values with each of their parts replaced or, of an object, removed."""
    found: list[Any] = ["something else", [7], {}] if values != {} else []
    for key in values if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ():
        for part in broken(values[key]):
            changed = copy.copy(values)
            changed[key] = part
            found.append(changed)
        if isinstance(values, dict):
            found.append({name: value for name, value in values.items() if name != key})
    return found


@pytest.mark.parametrize("name", ["evaluation", "validation"])
def test_no_other_shape_fails(name: str) -> None:
    for values in broken({"evaluation": EVALUATION, "validation": VALIDATION}[name]):
        model_card(read(**{name: values}))
    for values in (None, 3, "fine", [], {"passed": 1}, {"overall": []}):
        assert getattr(read(**{name: values}), name) == {}


@pytest.mark.parametrize("name", ["quantization", "versions", "files", "settings", "exporter_notes"])
def test_what_else_has_another_shape_is_refused(name: str) -> None:
    with pytest.raises(
        ModelFolderError, match=rf'"{name}" must be an object, not \[1\]; export the model again'
    ):
        read(**{name: [1]})


def test_a_manifest_is_read_as_it_was_written() -> None:
    manifest = dataclasses.replace(MANIFEST, evaluation=EVALUATION, validation=VALIDATION)
    assert Manifest.from_json(manifest.to_json()) == manifest
