"""Whether transformers' exporter can run here, and on which models; found out without importing any of it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["TRANSFORMERS_TOOLS", "why_no_transformers"]

TRANSFORMERS_TOOLS = {"torch": (2, 11), "transformers": (5, 23), "onnxscript": (0, 7)}
"""The oldest versions that transformers' exporter works with."""

_DECODERS = re.compile(
    r"^MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = OrderedDict\(\n(.*?)^\)", re.MULTILINE | re.DOTALL
)


def why_no_transformers(config: Mapping[str, Any]) -> str | None:
    """Say why transformers' exporter cannot run, or not on this model, and what to do; `None` if it may be tried.

    Args:
        config: The content of the model's config.json.
    """
    for name, needed in TRANSFORMERS_TOOLS.items():
        try:
            found = metadata.version(name) if importlib.util.find_spec(name) else None
        except metadata.PackageNotFoundError:
            found = None
        if found is None or _release(found) < needed:
            wanted = f"{name} >= {'.'.join(map(str, needed))}"
            here = f"{found} is here" if found else "it is not installed"
            return f"it needs {wanted}, and {here}; install genai with its extra [export]"
    known, model_type = _known_decoders(), config.get("model_type")
    if known and model_type not in known:
        return f'transformers {metadata.version("transformers")} has no decoder of the type "{model_type}"'
    return None


def _known_decoders() -> frozenset[str]:
    """The types of models that transformers' own list of decoders names; none if the list is not where it was."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        return frozenset()
    try:
        source = (Path(spec.origin).parent / "models/auto/modeling_auto.py").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    found = _DECODERS.search(source)
    return frozenset(re.findall(r'\("([^"]+)",', found[1])) if found else frozenset()


def _release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: "2.13.0+cpu" -> (2, 13, 0)."""
    numbers = []
    for part in version.split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
