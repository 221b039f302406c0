"""Texts to compare tokenizers on: prose, code, and what Unicode has, from a fixed seed."""

from __future__ import annotations

import random
from pathlib import Path

_RANGES = (
    *(
        (0x20, 0x7E),
        (0xA1, 0x17F),
        (0x370, 0x3FF),
        (0x400, 0x4FF),
        (0x5D0, 0x5EA),
        (0x620, 0x64A),
        (0x900, 0x97F),
    ),
    *(
        (0xE01, 0xE3A),
        (0x1100, 0x11FF),
        (0x2010, 0x2027),
        (0x20A0, 0x20BF),
        (0x2190, 0x21FF),
        (0x3041, 0x30FF),
    ),
    *(
        (0x4E00, 0x9FFF),
        (0xAC00, 0xD7A3),
        (0xFF01, 0xFF5E),
        (0x1F300, 0x1F64F),
        (0x10400, 0x1044F),
        (0x300, 0x36F),
    ),
)
_SPACES = (" ", "  ", "\n", "\n\n", "\t", " \n ", "    ", "\r\n", "\u00a0", "\u3000")
_ODD = (
    "'s",
    "'LL",
    "it's",
    "don't",
    "1234567",
    "3.14",
    "0xFF",
    "a_b",
    "foo(bar)",
    "--",
    "...",
    "!?",
    "$5",
    "//",
    "{}",
)


def texts(count: int = 2000, *, seed: int = 0) -> list[str]:
    """Return so many texts: sentences of this repository's documents and code, and random mixtures."""
    chance = random.Random(seed)
    root = Path(__file__).resolve().parents[3]
    files = sorted([*root.glob("docs/*.md"), *root.glob("genai/engine/*.py"), *root.glob("genai/text/*.py")])
    corpus = "\n".join(file.read_text(encoding="utf-8") for file in files)
    found = []
    for _ in range(count // 2):
        start = chance.randrange(len(corpus))
        found.append(corpus[start : start + chance.randrange(1, 200)])
    while len(found) < count:
        pieces = [_piece(chance) for _ in range(chance.randrange(1, 30))]
        found.append("".join(pieces))
    return found


def _piece(chance: random.Random) -> str:
    kind = chance.randrange(4)
    if kind == 0:
        return chance.choice(_SPACES)
    if kind == 1:
        return chance.choice(_ODD)
    low, high = chance.choice(_RANGES)
    return "".join(chr(chance.randrange(low, high + 1)) for _ in range(chance.randrange(1, 9)))
