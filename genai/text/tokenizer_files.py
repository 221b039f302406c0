"""Reading a tokenizer's files as Hugging Face's libraries write them, with transformers 5's rules.

Owns which file wins over which; knows nothing of encoding, decoding or rendering. Where tokenizer.json exists it is
the whole truth about how text is cut and which tokens frame it (add_bos_token and add_eos_token in
tokenizer_config.json are then passed over, as transformers does); tokenizer_config.json names the special tokens,
can add tokens or change their flags, and can hold the chat template.

One difference is meant: some classes of transformers 5 (LlamaTokenizer, Qwen2Tokenizer, GPT2Tokenizer, ...) build
the normalizer, pre-tokenizer and decoder anew from the vocabulary and pass over those in tokenizer.json. Where the two
differ, the published file is followed here, as every other runtime does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from genai.errors import TokenizerError
from genai.folder.files import (
    ADDED_TOKENS_FILE,
    LEGACY_TEMPLATE_FILE,
    OTHER_TOKENIZER_FILES,
    SPECIAL_TOKENS_FILE,
    TEMPLATE_FILE,
    TEMPLATE_FOLDER,
    TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
)

__all__ = ["TokenizerFiles", "read_tokenizer_files"]

_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_TOKEN_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")

Token = str | tokenizers.AddedToken


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """What a folder says about its tokenizer.

    Args:
        backend: The tokenizer, complete with the tokens that the configuration adds.
        special_tokens: The named special tokens (`bos_token`, `eos_token`, ...) as strings.
        special_ids: The ids of all special tokens, which decoding can leave out.
        clean_up_spaces: Whether decoded text is cleaned of spaces before punctuation.
        chat_templates: The sources of the chat templates, by name; the usual one is "default".
    """

    backend: tokenizers.Tokenizer
    special_tokens: Mapping[str, str]
    special_ids: frozenset[int]
    clean_up_spaces: bool
    chat_templates: Mapping[str, str]


def read_tokenizer_files(folder: Path) -> TokenizerFiles:
    """Read the tokenizer of a folder.

    Raises:
        TokenizerError: tokenizer.json is missing, or a file cannot be read.
    """
    backend = _read_backend(folder)
    special = _special_contents(backend)
    config = _read_json(folder / TOKENIZER_CONFIG_FILE)
    try:
        added = _configured_tokens(folder, config)
        named = _named_tokens(config, added)
        _add_tokens(backend, config, added, named)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise TokenizerError(
            f"the special or added tokens in {folder / TOKENIZER_CONFIG_FILE} cannot be read: {error}"
        ) from error
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = bool(config.get("split_special_tokens", False))
    # Cleaning was made for WordPiece and would damage what BPE decodes; transformers asks for this key by name too.
    is_bpe = isinstance(backend.model, tokenizers.models.BPE)
    is_forced = bool(config.get("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"))
    return TokenizerFiles(
        backend=backend,
        special_tokens={name: str(token) for name, token in named.items()},
        special_ids=_special_ids(backend, special | _special_contents(backend)),
        clean_up_spaces=bool(config.get("clean_up_tokenization_spaces")) and (is_forced or not is_bpe),
        chat_templates=_read_chat_templates(folder, config),
    )


def _read_backend(folder: Path) -> tokenizers.Tokenizer:
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise TokenizerError(_explain_missing(folder))
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more specific
        raise TokenizerError(
            f"{path} cannot be read as a tokenizer: {error}. If the download was cut short, fetch it again; if it "
            f"was written by a newer release, upgrade the tokenizers package (this is {tokenizers.__version__})"
        ) from error


def _explain_missing(folder: Path) -> str:
    if not folder.is_dir():
        return f"no tokenizer: {folder} is not a folder"
    others = [name for name in OTHER_TOKENIZER_FILES if (folder / name).is_file()]
    if not others:
        return f"{folder} has no {TOKENIZER_FILE}: copy the tokenizer files of the original model into it"
    return (
        f"{folder} has no {TOKENIZER_FILE}, only {' and '.join(others)}. Convert it once, where transformers and "
        f'sentencepiece are installed: python -c "from transformers import AutoTokenizer as A; p = {str(folder)!r}; '
        'A.from_pretrained(p).save_pretrained(p)"'
    )


def _read_json(path: Path) -> dict[str, Any]:
    """Return a file's JSON object; an empty one if there is no such file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise TokenizerError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise TokenizerError(f"{path} must hold a JSON object, not {type(values).__name__}")
    return values


# --- special and added tokens ---


def _configured_tokens(folder: Path, config: dict[str, Any]) -> list[tokenizers.AddedToken]:
    """Return the tokens that the configuration adds, in order of their ids.

    Without `added_tokens_decoder`, the two older files count; special_tokens_map.json is then merged into `config`.
    """
    if "added_tokens_decoder" in config:
        by_id = {int(i): _as_added_token(token) for i, token in config["added_tokens_decoder"].items()}
        return [token for _, token in sorted(by_id.items())]
    for name, value in _read_json(folder / SPECIAL_TOKENS_FILE).items():
        config[name] = _as_added_token(value, special=True) if isinstance(value, dict) else value
    special = {str(_as_token(config[name])) for name in _NAMED_TOKENS if config.get(name)}
    special.update(map(str, _extra_tokens(config)))
    added = sorted(_read_json(folder / ADDED_TOKENS_FILE).items(), key=lambda item: int(item[1]))
    return [
        tokenizers.AddedToken(text, normalized=text not in special, special=text in special)
        for text, _ in added
    ]


def _named_tokens(config: Mapping[str, Any], added: list[tokenizers.AddedToken]) -> dict[str, Token]:
    """Return the special tokens that have a name; models may name more than the usual seven."""
    extra = config.get("extra_special_tokens")
    found = {
        name: value
        for name, value in {**config, **(extra if isinstance(extra, dict) else {})}.items()
        if name.endswith("_token") and isinstance(value, (str, dict, tokenizers.AddedToken))
    }
    by_content = {token.content: token for token in added}
    ordered = [*(n for n in _NAMED_TOKENS if n in found), *(n for n in found if n not in _NAMED_TOKENS)]
    tokens = {name: _as_token(found[name]) for name in ordered}
    return {name: by_content.get(str(token), token) for name, token in tokens.items()}


def _extra_tokens(config: Mapping[str, Any]) -> list[Token]:
    """Return the special tokens that have no name."""
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    return [] if isinstance(extra, dict) else [_as_token(token) for token in extra]


def _add_tokens(
    backend: tokenizers.Tokenizer,
    config: Mapping[str, Any],
    added: list[tokenizers.AddedToken],
    named: Mapping[str, Token],
) -> None:
    """Add the configured tokens to the tokenizer; one it has already takes over the configuration's flags."""
    known = {token.content for token in (*backend.get_added_tokens_decoder().values(), *added)}
    missing = [token for token in (*named.values(), *_extra_tokens(config)) if str(token) not in known]
    names = {str(token) for token in named.values()}
    tokens = [_as_added_token(token) for token in dict.fromkeys([*added, *missing])]
    for token in tokens:
        token.special = token.special or token.content in names
    backend.add_tokens(tokens)


def _special_contents(backend: tokenizers.Tokenizer) -> set[str]:
    return {token.content for token in backend.get_added_tokens_decoder().values() if token.special}


def _special_ids(backend: tokenizers.Tokenizer, contents: set[str]) -> frozenset[int]:
    """Return the ids that the library leaves out when it skips special tokens.

    It compares strings with all contents that ever were special. A token added in normalized form is written
    otherwise in the vocabulary and so stays, and a token that was special stays special when its flag is cleared.
    """
    return frozenset(i for i in backend.get_added_tokens_decoder() if backend.id_to_token(i) in contents)


def _as_token(value: Any) -> Token:
    return value if isinstance(value, (str, tokenizers.AddedToken)) else _as_added_token(value)


def _as_added_token(value: Any, **flags: bool) -> tokenizers.AddedToken:
    if isinstance(value, tokenizers.AddedToken):
        return value
    if isinstance(value, str):
        return tokenizers.AddedToken(value, special=True)
    given = {name: value[name] for name in _TOKEN_FLAGS if name in value}
    return tokenizers.AddedToken(value["content"], **given | flags)


# --- chat templates ---


def _read_chat_templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the chat templates by name: template files win over the configuration's entry."""
    try:
        templates = dict(_template_files(folder))
    except (OSError, ValueError) as error:
        raise TokenizerError(f"the chat templates in {folder} cannot be read: {error}") from error
    if templates:
        return templates
    source = config.get("chat_template")
    if source is None:
        source = _read_json(folder / LEGACY_TEMPLATE_FILE).get("chat_template", {})
    if isinstance(source, str):
        return {"default": source}
    try:
        return {e["name"]: e["template"] for e in source} if isinstance(source, list) else dict(source)
    except (TypeError, ValueError, KeyError) as error:
        raise TokenizerError(
            f"chat_template in {folder} must be a string or a list of objects with a name and a template"
        ) from error


def _template_files(folder: Path) -> Iterator[tuple[str, str]]:
    for name, path in [
        ("default", folder / TEMPLATE_FILE),
        *((path.stem, path) for path in sorted((folder / TEMPLATE_FOLDER).glob("*.jinja"))),
    ]:
        if path.is_file():
            yield name, path.read_text(encoding="utf-8")
