"""Ollama's `options` and `format` as options of a generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genai.wire.fields import BodyError, json_type, take
from genai.wire.options import plain_options

__all__ = ["NAMES", "read_form", "read_options"]

_RENAMED = {
    "num_predict": "max_new_tokens",
    "repeat_penalty": "repetition_penalty",
    "repeat_last_n": "repetition_last_n",
}
NAMES = {
    **{option: f"options.{name}" for name, option in _RENAMED.items()},
    "num_context": "options.num_ctx",
    "response_format": "format",
}
"""What a body calls options."""
_AT_LOADING = (
    *("numa", "num_batch", "num_gpu", "main_gpu", "low_vram", "f16_kv", "logits_all", "vocab_only"),
    *("use_mmap", "use_mlock", "embedding_only", "num_thread"),
)
_NOT_SHOWN = ("num_return_sequences", "logprobs", "top_logprobs", "prompt_logprobs", "echo")
_NEUTRAL: Mapping[str, Any] = {"tfs_z": 1, "penalize_newline": True, "num_keep": 0}
"""Options that there are not here, with the values that leave them off."""


def read_options(given: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
    """Return the options that `options` stand for, and how long the context has to be.

    Raises:
        BodyError: One is unknown, or not of the type that it should be.
    """
    fields = {name: value for name, value in given.items() if value is not None}
    num_context = take(fields, "num_ctx", int, None)
    if num_context is not None and num_context < 1:
        raise BodyError(f"options: num_ctx must be at least 1, not {num_context}", "num_ctx")
    for name, neutral in _NEUTRAL.items():
        if name in fields and fields.pop(name) != neutral:
            raise BodyError(f"options: there is no {name} here, which can only be {neutral}", name)
    for name in fields:
        if name in _AT_LOADING:
            raise BodyError(
                f"options: {name} says how a model is loaded, which is said where the server is started: genai serve --help",
                name,
            )
        if name in _NOT_SHOWN:
            raise BodyError(f"options: {name}: an answer has no place for it here", name)
    for name in ("num_predict", "seed"):
        if type(fields.get(name)) is int and fields[name] < 0:  # as long as the model goes on; any seed
            value = fields.pop(name)
            if name == "num_predict":
                fields[name] = None
            elif value != -1:
                raise BodyError(f"options: seed must be at least 0, or -1 for any, not {value}", name)
    return plain_options(fields, renamed=_RENAMED), num_context


def read_form(form: Any) -> dict[str, Any]:
    """Return the option that `format` stands for: any JSON, or what a schema allows.

    Raises:
        BodyError: It is neither.
    """
    if form in (None, ""):
        return {}
    if form == "json":
        return {"response_format": "json"}
    if isinstance(form, Mapping):
        return {"response_format": {"type": "json_schema", "json_schema": {"schema": form}}}
    raise BodyError(f'format must be "json" or a JSON schema, not {json_type(form)}', "format")
