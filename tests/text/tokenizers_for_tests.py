"""Small tokenizers of every kind in use, trained here on a few sentences, and folders that hold them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "Once upon a time there was a small model that wrote stories, didn't it?",
    "The quick brown fox jumps over the lazy dog; it's 12:30 o'clock.",
    "def main():\n    print('hello, world')\n\n\n    return {'a': [1, 2, 3]}\t# fine",
    "Größe, naïve café, Москва, 日本語のテキスト, 한국어, عربى, हिन्दी 👩‍👩‍👧 🇩🇪",
] * 3
SPECIAL = ["<unk>", "<s>", "</s>", "<|user|>"]


def byte_level() -> tokenizers.Tokenizer:
    """GPT-2, Llama 3, Qwen: BPE over bytes."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, special_tokens=SPECIAL)
    )
    tokenizer.add_tokens(["<tool_call>", "zwei Wörter", "日"])
    return tokenizer


def sentencepiece(*, strip: bool = True) -> tokenizers.Tokenizer:
    """Llama 2, Mistral, Phi-3 (and, without strip, Gemma): BPE with byte fallback."""
    symbols = sorted({c for line in CORPUS for c in line if ord(c) < 0x250} - {" ", "\n", "\t"} | {"▁"})
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *symbols]
    words = ["▁a", "▁t", "▁▁", "he", "▁the", "▁m", "on", "▁on"]
    merges = [
        ("▁", "a"),
        ("▁", "t"),
        ("▁", "▁"),
        ("h", "e"),
        ("▁t", "he"),
        ("▁", "m"),
        ("o", "n"),
        ("▁", "on"),
    ]
    tokenizer = tokenizers.Tokenizer(
        models.BPE(
            vocab={token: i for i, token in enumerate([*tokens, *words])},
            merges=merges,
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    prepend = [normalizers.Prepend("▁")] if strip else []
    tokenizer.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strip else steps)
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def gemma() -> tokenizers.Tokenizer:
    return sentencepiece(strip=False)


def unigram() -> tokenizers.Tokenizer:
    """T5, XGLM: Unigram with Metaspace."""
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        CORPUS, trainers.UnigramTrainer(vocab_size=180, special_tokens=SPECIAL, unk_token="<unk>")
    )
    return tokenizer


def word_piece() -> tokenizers.Tokenizer:
    """BERT-like decoders."""
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=250, special_tokens=SPECIAL))
    return tokenizer


def word_piece_uncleaned() -> tokenizers.Tokenizer:
    tokenizer = word_piece()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return tokenizer


def end_of_word_bpe() -> tokenizers.Tokenizer:
    """The first GPT and CTRL: a suffix marks the end of a word."""
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder("</w>")
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=250, special_tokens=SPECIAL, end_of_word_suffix="</w>")
    )
    return tokenizer


def word_level() -> tokenizers.Tokenizer:
    """No decoder at all: tokens are joined with spaces."""
    words = sorted({word for line in CORPUS for word in line.split()})
    vocab = {token: i for i, token in enumerate([*SPECIAL, *words])}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocab=vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def ctc() -> tokenizers.Tokenizer:
    """A decoder that merges neighbours, so no text is certain before the end."""
    tokenizer = word_level()
    tokenizer.decoder = decoders.CTC()
    return tokenizer


KINDS: dict[str, Callable[[], tokenizers.Tokenizer]] = {
    make.__name__: make
    for make in (
        byte_level,
        sentencepiece,
        gemma,
        unigram,
        word_piece,
        word_piece_uncleaned,
        end_of_word_bpe,
        word_level,
        ctc,
    )
}


def write_folder(folder: Path, tokenizer: tokenizers.Tokenizer, **config: Any) -> Path:
    """Write a tokenizer's files; `config` goes into tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"} | config
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def added_token(text: str, **flags: bool) -> dict[str, Any]:
    """Return a token as tokenizer_config.json writes it."""
    state = AddedToken(text, **flags).__getstate__()
    return {"content": text, **{k: v for k, v in state.items() if k != "content"}}
