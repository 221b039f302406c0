"""An option of a generation beside its value: what it may be, what other tools call it, what it does not go with.

A field of `GenerationConfig` is declared with `option`, which is the one place that knows this; the check of a value, the
errors and the table of docs/generation.md are read from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from genai.config.checks import Check
from genai.errors import did_you_mean

__all__ = ["Option", "Search", "did_you_mean_option", "option", "options_of"]

Search = Literal["greedy", "sampling", "beams"]
"""A way to choose tokens."""
_KEY = "option"
_SAME = "="


@dataclass(frozen=True, slots=True)
class Option:
    """What is known of an option.

    Args:
        check: Its possible values.
        transformers: What transformers' GenerationConfig calls it; "=" is the same name, `None` that it has none.
        vllm: What vLLM's SamplingParams call it.
        llama_cpp: What llama.cpp's server calls it.
        without: The searches that it does not go with.
        needs: Other options of which one has to be set for it to mean anything.
    """

    check: Check
    transformers: str | None = None
    vllm: str | None = None
    llama_cpp: str | None = None
    without: tuple[Search, ...] = ()
    needs: tuple[str, ...] = ()


def option(
    default: Any,
    check: Check,
    *,
    transformers: str | None = None,
    vllm: str | None = None,
    llama_cpp: str | None = None,
    without: tuple[Search, ...] = (),
    needs: tuple[str, ...] = (),
) -> Any:
    """Declare a field of a frozen dataclass as an option; see `Option`."""
    known = {_KEY: Option(check, transformers, vllm, llama_cpp, without, needs)}
    if isinstance(default, Mapping):
        return dataclasses.field(default_factory=dict, metadata=known)
    return dataclasses.field(default=default, metadata=known)


def did_you_mean_option(name: str, known: Mapping[str, Option]) -> str:
    """Return a sentence that suggests the option that another tool calls by a name, or else the nearest one."""
    for ours, each in known.items():
        if name in (each.transformers, each.vllm, each.llama_cpp):
            return f' Here it is called "{ours}".'
    return did_you_mean(name, known)


def options_of(config: Any) -> dict[str, Option]:
    """Return the options that a dataclass, or a value of one, has by name, other tools' names spelled out."""
    found = {}
    for field in dataclasses.fields(config):
        known: Option = field.metadata[_KEY]
        names: dict[str, Any] = {
            tool: field.name
            for tool in ("transformers", "vllm", "llama_cpp")
            if getattr(known, tool) == _SAME
        }
        found[field.name] = dataclasses.replace(known, **names)
    return found
