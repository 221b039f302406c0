"""Reads the hand-written corpus: intents, held-out questions and shared wording.

A corpus file holds intents, one after the other:

    [kv_cache]                       the intent's name
    > The KV cache keeps ...         its one answer
    ~ kv cache|key-value cache       terms, put into the shared frames ("what is {t}")
    why is there a (kv cache|cache)  a phrasing; (a|b|) is a choice, $how a macro of wording.txt

A held-out file has the same headings with plain questions below, which no training text may contain.
wording.txt holds sections of macros, frames, prefixes, suffixes, synonyms and system messages.
Lines that begin with # are comments.
"""

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CORPUS_FOLDER = Path(__file__).parent
_CHOICE = re.compile(r"\(([^()]*)\)")


@dataclass(frozen=True, slots=True)
class Intent:
    """One thing that can be asked: its answer and the hand-written ways to ask it."""

    name: str
    answer: str
    terms: tuple[str, ...]
    phrasings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wording:
    """What all intents share: frames around terms and material for augmentation."""

    frames: tuple[str, ...]
    prefixes: tuple[str, ...]
    suffixes: tuple[str, ...]
    systems: tuple[str, ...]
    synonyms: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Corpus:
    """The whole hand-written material for training."""

    intents: tuple[Intent, ...]
    wording: Wording


@dataclass(frozen=True, slots=True)
class Question:
    """A question with the intent whose answer is right."""

    text: str
    intent: str


def load_corpus(folder: Path = CORPUS_FOLDER) -> Corpus:
    """Read all intents under `folder`/corpus and the shared wording; raise ValueError on a malformed file."""
    sections = _read_sections(folder / "wording.txt")
    macros = dict(line.split(" = ", 1) for line in sections["macros"])
    wording = Wording(
        frames=tuple(sections["frames"]),
        prefixes=tuple(sections["prefixes"]),
        suffixes=tuple(sections["suffixes"]),
        systems=tuple(sections["systems"]),
        synonyms={
            key: tuple(values.split("|")) for key, values in (s.split(" = ", 1) for s in sections["synonyms"])
        },
    )
    intents: dict[str, Intent] = {}
    for path in sorted((folder / "corpus").glob("*.txt")):
        for name, lines in _read_sections(path).items():
            if name in intents:
                raise ValueError(f"{path}: intent {name!r} is defined twice")
            intents[name] = _parse_intent(name, lines, macros=macros)
    return Corpus(tuple(intents.values()), wording)


def load_questions(folder: Path, *, intents: tuple[Intent, ...]) -> tuple[Question, ...]:
    """Read the questions of all files in `folder`; raise ValueError if one names no known intent."""
    known = {intent.name for intent in intents}
    questions = []
    for path in sorted(folder.glob("*.txt")):
        for name, lines in _read_sections(path).items():
            if name not in known:
                raise ValueError(f"{path}: {name!r} is no intent of the corpus")
            questions += [Question(line, name) for line in lines]
    return tuple(questions)


def expand_phrasing(phrasing: str, rng: random.Random) -> str:
    """Return one random reading of a phrasing, with each choice decided."""
    while match := _CHOICE.search(phrasing):
        choice = rng.choice(match.group(1).split("|"))
        phrasing = phrasing[: match.start()] + choice + phrasing[match.end() :]
    return " ".join(phrasing.split())


def all_readings(phrasing: str) -> Iterator[str]:
    """Yield every reading of a phrasing without nested choices."""
    parts = [part.split("|") if i % 2 else [part] for i, part in enumerate(_CHOICE.split(phrasing))]
    for combination in itertools.product(*parts):
        yield " ".join("".join(combination).split())


def find_conflicts(intents: tuple[Intent, ...]) -> dict[str, set[str]]:
    """Return the readings that belong to more than one intent, with the names of those intents."""
    owners: dict[str, set[str]] = {}
    for intent in intents:
        for phrasing in intent.phrasings:
            for reading in all_readings(phrasing):
                owners.setdefault(normalize_question(reading), set()).add(intent.name)
    return {reading: names for reading, names in owners.items() if len(names) > 1}


def normalize_question(text: str) -> str:
    """Return `text` in lower case without punctuation and surplus blanks, for comparisons."""
    return " ".join(re.sub(r"[^\w\s]", " ", text.lower().replace("'", "").replace("’", "")).split())


def _parse_intent(name: str, lines: list[str], *, macros: dict[str, str]) -> Intent:
    answers = [line[2:] for line in lines if line.startswith("> ")]
    terms = [term for line in lines if line.startswith("~ ") for term in line[2:].split("|")]
    phrasings = [_replace_macros(line, macros) for line in lines if not line.startswith(("> ", "~ "))]
    if len(answers) != 1 or not phrasings:
        raise ValueError(
            f"intent {name!r} needs one answer and some phrasings, has {len(answers)} and {len(phrasings)}"
        )
    return Intent(name, answers[0], tuple(terms), tuple(phrasings))


def _replace_macros(line: str, macros: dict[str, str]) -> str:
    return re.sub(r"\$(\w+)", lambda match: f"({macros[match.group(1)]})", line)


def _read_sections(path: Path) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("# "):
            continue
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            lines = sections.setdefault(heading.group(1), [])
        elif lines is None:
            raise ValueError(f"{path}:{number}: a line before the first [heading]")
        else:
            lines.append(line)
    return sections
