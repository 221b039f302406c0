"""tokenizer.json from the metadata: byte-level BPE, and SentencePiece's BPE with bytes to fall back to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from genai.errors import CheckpointError, UnsupportedModelError
from genai.export.checkpoint.gguf.pre_tokenizers import find_pre_tokenizer
from genai.export.checkpoint.model_config import ModelConfig

__all__ = ["Vocabulary", "tokenizer_json"]

Json = dict[str, Any]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

_SPACE = "\u2581"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the metadata say of the tokenizer.

    Args:
        kind: "gpt2" for byte-level BPE, "llama" for SentencePiece's, "gemma4" for its pieces with merges.
        pre: The name of the rules by which text is cut before byte-level BPE.
        tokens: The tokens by id.
        types: Their types, of llama.cpp's six.
        scores: Their scores, for SentencePiece; empty if there are none.
        merges: "left right", the first ones before the later; empty if there are none.
        values: Flags and ids.
        is_spm_ordered_by_id: Whether pieces are merged in the order of their ids and not of their scores.
        strips_after_special: Whether spaces after special tokens are swallowed, as Phi 3 does.
    """

    kind: str
    pre: str
    tokens: Sequence[str]
    types: Sequence[int]
    scores: Sequence[float]
    merges: Sequence[str]
    values: ModelConfig
    is_spm_ordered_by_id: bool = False
    strips_after_special: bool = False

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Self:
        """Read it.

        Raises:
            CheckpointError: A part is missing, or they do not fit together.
            UnsupportedModelError: It is of another kind.
        """
        prefix = "tokenizer.ggml."
        own = {key[len(prefix) :]: value for key, value in metadata.items() if key.startswith(prefix)}
        values = ModelConfig(
            {key: value for key, value in own.items() if not isinstance(value, list | np.ndarray)},
            "GGUF metadata, tokenizer.ggml",
        )
        kind, tokens = values.string("model", "none"), own.get("tokens")
        if kind not in ("gpt2", "llama", "gemma4"):
            raise UnsupportedModelError(
                f'the tokenizer of the GGUF file is of the kind "{kind}"; gpt2 (byte-level BPE), llama (SentencePiece) and '
                "gemma4 can be read: export the checkpoint that the file was made from"
            )
        if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
            raise CheckpointError(
                "GGUF metadata: tokenizer.ggml.tokens must be a list of strings; download the file again"
            )
        architecture = metadata.get("general.architecture")
        return cls(
            kind,
            values.string("pre", "default"),
            tokens,
            _numbers(own, "token_type", len(tokens)) or [NORMAL] * len(tokens),
            _numbers(own, "scores", len(tokens)),
            _strings(own, "merges"),
            values,
            is_spm_ordered_by_id=architecture in ("gemma", "gemma2", "gemma3"),
            strips_after_special=architecture == "phi3" and kind == "llama",
        )

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a flag of the metadata."""
        return self.values.flag(key, default)

    def token(self, name: str) -> str | None:
        """Return the token that the metadata name as `{name}_token_id`.

        Raises:
            CheckpointError: There is no such token.
        """
        key = f"{name}_token_id"
        if key not in self.values:
            return None
        token_id = self.values.integer(key, minimum=0)
        if token_id >= len(self.tokens):
            raise CheckpointError(
                f"GGUF metadata: tokenizer.ggml.{key} is {token_id}, and there are {len(self.tokens)} tokens"
            )
        return self.tokens[token_id]

    @property
    def adds_bos(self) -> bool:
        """Whether a text begins with the token of beginnings."""
        is_default = self.kind == "llama" or (self.kind == "gpt2" and find_pre_tokenizer(self.pre).adds_bos)
        return self.flag("add_bos_token", default=is_default)

    @property
    def adds_eos(self) -> bool:
        """Whether a text ends with the token of ends."""
        return self.flag("add_eos_token", default=False)


def tokenizer_json(vocabulary: Vocabulary) -> Json:
    """Return the content of a tokenizer.json.

    Raises:
        CheckpointError: A part is missing.
        UnsupportedModelError: How it cuts text is not known.
    """
    parts = _byte_level(vocabulary) if vocabulary.kind == "gpt2" else _sentence_piece(vocabulary)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(vocabulary),
        "post_processor": _post_processor(vocabulary),
        **parts,
    }


def _byte_level(vocabulary: Vocabulary) -> Json:
    style = find_pre_tokenizer(vocabulary.pre)
    splits = [_split(pattern) for pattern in style.patterns]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    if not vocabulary.merges:
        raise CheckpointError("GGUF metadata: tokenizer.ggml.merges is missing; download the file again")
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits, byte_level]},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": _bpe(
            {token: index for index, token in enumerate(vocabulary.tokens)},
            _known_merges(vocabulary.merges, set(vocabulary.tokens)),
            ignore_merges=style.takes_whole_words,
        ),
    }


def _sentence_piece(vocabulary: Vocabulary) -> Json:
    """BPE over characters with "▁" for spaces; what is no piece falls back to bytes.

    Pieces have scores instead of merges, which follow from them as transformers' converter finds them: a piece is made
    of any two others, the best piece first.
    """
    tokens = [_piece(token, kind) for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True)]
    ids = {token: index for index, token in enumerate(tokens)}
    merges = _known_merges(vocabulary.merges, set(tokens)) or _merges_of(ids, _ranks(vocabulary))
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    has_prefix = vocabulary.flag("add_space_prefix", default=vocabulary.kind == "llama")
    prepend = [{"type": "Prepend", "prepend": _SPACE}] if has_prefix else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if has_prefix else []
    back = {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*prepend, replace]},
        "pre_tokenizer": _split(r"[^\n]+|[\n]+") if vocabulary.kind == "gemma4" else None,
        "decoder": {
            "type": "Sequence",
            "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip],
        },
        "model": _bpe(
            ids,
            merges,
            unk_token=vocabulary.token("unknown"),
            fuse_unk=True,
            byte_fallback=BYTE in vocabulary.types,
        ),
    }


def _bpe(vocab: Mapping[str, int], merges: Sequence[Sequence[str]], **options: Any) -> Json:
    plain = {
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
    }
    flags = {"fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    return {"type": "BPE", **plain, **flags, **options, "vocab": vocab, "merges": merges}


def _split(pattern: str) -> Json:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _piece(token: str, kind: int) -> str:
    """Return a piece as the model has it; the converter writes those of spaces alone with spaces."""
    return _SPACE * len(token) if kind == USER_DEFINED and token and not token.strip(" ") else token


def _ranks(vocabulary: Vocabulary) -> Sequence[float]:
    """How good each piece is; Gemma's are best in the order of their ids."""
    if vocabulary.is_spm_ordered_by_id:
        return [-float(index) for index in range(len(vocabulary.tokens))]
    if not len(vocabulary.scores):
        raise CheckpointError(
            "GGUF metadata: tokenizer.ggml.scores and tokenizer.ggml.merges are missing; download the file again"
        )
    return vocabulary.scores


def _merges_of(ids: Mapping[str, int], ranks: Sequence[float]) -> list[list[str]]:
    found: list[tuple[float, int, int, str, str]] = []
    for piece, index in ids.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ids and right in ids:
                found.append((ranks[index], len(left), len(right), left, right))
    found.sort(key=lambda merge: merge[:3], reverse=True)
    return [[left, right] for *_, left, right in found]


def _known_merges(merges: Sequence[str], tokens: set[str]) -> list[list[str]]:
    """Return the merges as pairs; one of what is no token would make the file unreadable.

    Raises:
        CheckpointError: There is one.
    """
    pairs = []
    for merge in merges:
        left, _, right = merge.partition(" ") if not merge.startswith(" ") else (merge[0], "", merge[2:])
        if left not in tokens or right not in tokens or left + right not in tokens:
            raise CheckpointError(
                f"GGUF metadata: tokenizer.ggml.merges has {merge!r}, whose parts are no tokens"
            )
        pairs.append([left, right])
    return pairs


def _added_tokens(vocabulary: Vocabulary) -> list[Json]:
    """Special tokens, and those that text is searched for before anything else."""
    kinds = zip(vocabulary.tokens, vocabulary.types, strict=True)
    return [
        {
            "id": index,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": vocabulary.strips_after_special and token not in ("<s>", "<unk>", "<|endoftext|>"),
            "normalized": False,
            "special": kind != USER_DEFINED,
        }
        for index, (token, kind) in enumerate(kinds)
        if token and kind in (CONTROL, USER_DEFINED, UNKNOWN) and _piece(token, kind) == token
    ]


def _post_processor(vocabulary: Vocabulary) -> Json | None:
    bos = vocabulary.token("bos") if vocabulary.adds_bos else None
    eos = vocabulary.token("eos") if vocabulary.adds_eos else None
    if bos is None and eos is None:
        return None
    ids = {token: index for index, token in enumerate(vocabulary.tokens)}

    def framed(name: str, type_id: int) -> list[Json]:
        special = {
            token: {"SpecialToken": {"id": token, "type_id": type_id}}
            for token in (bos, eos)
            if token is not None
        }
        text = {"Sequence": {"id": name, "type_id": type_id}}
        return [*([special[bos]] if bos else []), text, *([special[eos]] if eos else [])]

    return {
        "type": "TemplateProcessing",
        "single": framed("A", 0),
        "pair": [*framed("A", 0), *framed("B", 1)],
        "special_tokens": {
            token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in (bos, eos) if token
        },
    }


def _numbers(values: Mapping[str, Any], key: str, count: int) -> Sequence[Any]:
    found = values.get(key)
    if found is None:
        return []
    if not isinstance(found, np.ndarray) or len(found) != count:
        raise CheckpointError(
            f"GGUF metadata: tokenizer.ggml.{key} must hold {count} numbers; download the file again"
        )
    numbers: list[Any] = found.tolist()
    return numbers


def _strings(values: Mapping[str, Any], key: str) -> Sequence[str]:
    found = values.get(key, [])
    if isinstance(found, np.ndarray) and not len(found):
        return []
    if not isinstance(found, list) or not all(isinstance(value, str) for value in found):
        raise CheckpointError(
            f"GGUF metadata: tokenizer.ggml.{key} must be a list of strings; download the file again"
        )
    return found
