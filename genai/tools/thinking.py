"""Asking a model to think before it answers, or not to: by the variables that its chat template has for it."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["thinking_variables"]

_SWITCHES = ("enable_thinking", "thinking")
"""Variables that are true or false: of Qwen 3, GLM 4.5, SmolLM3 and others; of DeepSeek V3.1, Granite 3.2 and others."""
_EFFORT = "reasoning_effort"
"""A variable that is a word, such as gpt-oss's."""


def thinking_variables(known: Collection[str], wanted: bool | str) -> dict[str, object] | None:
    """Return the variables by which a chat template is told how much the model is to think.

    Args:
        known: The variables that the template has.
        wanted: Whether the model is to think, or how much, in the template's word for it.

    Returns:
        The variables; `None` where the template has none for this.

    >>> thinking_variables({"messages", "enable_thinking"}, False)
    {'enable_thinking': False}
    >>> thinking_variables({"messages", "reasoning_effort"}, "high")
    {'reasoning_effort': 'high'}
    """
    if isinstance(wanted, str) and _EFFORT in known:
        return {_EFFORT: wanted}
    for name in _SWITCHES:
        if name in known:
            return {name: bool(wanted)}
    return None
