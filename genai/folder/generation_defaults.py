"""How a model generates unless the caller says otherwise: generation_config.json, else what onnxruntime-genai's says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genai.config import GenerationConfig
from genai.errors import ModelFolderError, OptionError
from genai.folder.decoder_config import DecoderConfig
from genai.folder.files import CONFIG_FILE, GENERATION_CONFIG_FILE, read_json

__all__ = ["LengthLimits", "read_generation_defaults", "read_length_limits"]

_SEARCH_OPTIONS = (
    *("do_sample", "early_stopping", "length_penalty", "no_repeat_ngram_size", "num_beams"),
    *("num_return_sequences", "repetition_penalty", "temperature", "top_k", "top_p"),
)
"""Keys of genai_config.json's `search` that GenerationConfig has under the same name."""


@dataclass(frozen=True, slots=True)
class LengthLimits:
    """Limits on a whole sequence, prompt included, as genai_config.json's `search` sets them.

    Args:
        min_length: Fewest tokens.
        max_length: Most tokens; `None` is no limit but the context.
    """

    min_length: int = 0
    max_length: int | None = None

    def options(self, prompt_tokens: int, given: Mapping[str, Any]) -> dict[str, int]:
        """Return the limits as options of one prompt's generation, without those that the caller gave.

        >>> LengthLimits(max_length=10).options(4, {})
        {'max_new_tokens': 6}
        >>> LengthLimits(min_length=9).options(4, {"max_new_tokens": 3})
        {'min_new_tokens': 3}
        """
        found = {}
        most = given.get("max_new_tokens")
        if self.max_length is not None and "max_new_tokens" not in given:
            most = found["max_new_tokens"] = max(self.max_length - prompt_tokens, 1)
        fewest = self.min_length - prompt_tokens
        if fewest > 0 and "min_new_tokens" not in given:
            found["min_new_tokens"] = fewest if most is None else min(fewest, most)
        return found


def read_generation_defaults(folder: Path, decoder: DecoderConfig) -> GenerationConfig:
    """Return a folder's generation options; its generation_config.json goes before its genai_config.json.

    Raises:
        ModelFolderError: A file cannot be read, or names an impossible value.
    """
    search = _search_options(decoder.search)
    _generation(search, f"{folder / CONFIG_FILE}: search")
    own = _own_values(folder)
    return _generation({**search, **own}, str(folder / GENERATION_CONFIG_FILE))


def read_length_limits(folder: Path, decoder: DecoderConfig) -> LengthLimits:
    """Return the limits on a sequence that a folder's genai_config.json sets and its generation_config.json does not.

    Raises:
        ModelFolderError: A file cannot be read, or a limit is no integer.
    """
    own = _own_values(folder)
    limits = {key: decoder.search.get(key) or 0 for key in ("min_length", "max_length")}
    for key, limit in limits.items():
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
            raise ModelFolderError(
                f"{folder / CONFIG_FILE}: search.{key} must be an integer >= 0, not {limit!r}"
            )
    is_limited = 0 < limits["max_length"] < decoder.context_length and "max_new_tokens" not in own
    return LengthLimits(
        min_length=0 if "min_new_tokens" in own else limits["min_length"],
        max_length=limits["max_length"] if is_limited else None,
    )


def _own_values(folder: Path) -> dict[str, Any]:
    path = folder / GENERATION_CONFIG_FILE
    values = read_json(path) if path.is_file() else {}
    return {key: value for key, value in values.items() if value is not None}


def _generation(values: Mapping[str, Any], where: str) -> GenerationConfig:
    try:
        return GenerationConfig.from_dict(values)
    except OptionError as error:
        raise ModelFolderError(f"{where}: {error}; correct the file or remove it") from error


def _search_options(search: Mapping[str, Any]) -> dict[str, Any]:
    options = {key: search[key] for key in _SEARCH_OPTIONS if search.get(key) is not None}
    if options.get("top_k") == 1 and not options.get("do_sample"):
        del options["top_k"]  # a builder's way to say greedy; who samples after all means to have a choice
    if options.get("top_p") == 0:
        del options["top_p"]  # which is off there
    seed = search.get("random_seed")
    if isinstance(seed, int) and seed >= 0:
        options["seed"] = seed
    return options
