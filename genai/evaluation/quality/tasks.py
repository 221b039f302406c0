"""Multiple-choice tasks: which of several continuations of a question the model finds most likely.

A task is a file of lines in JSON, one question each:

```
{"question": "Water boils at sea level at", "choices": ["100 degrees", "50 degrees"], "answer": 0}
```

A choice is appended to its question after a space, unless one of them has white space there. Its score is the
log-likelihood of the tokens that it adds, divided by its length in UTF-8 bytes, as in `acc_norm` of
lm-evaluation-harness (which counts characters, the same thing in ASCII); without that short choices would win.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genai.errors import OptionError
from genai.evaluation.quality.passages import Passage
from genai.evaluation.quality.perplexity import Advance, Scorer, score_tokens
from genai.text import Tokenizer, read_utf8

__all__ = ["Question", "Task", "TaskQuality", "passages_of", "read_task", "score_task"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its choices.

    Args:
        text: The question.
        choices: At least two different continuations.
        answer: The index of the right one.
        place: Where it stands, for errors: file and line.
    """

    text: str
    choices: tuple[str, ...]
    answer: int
    place: str

    def continued(self, choice: str) -> str:
        """Return the question with a choice as its end."""
        has_space = self.text[-1].isspace() or choice[0].isspace()
        return self.text + ("" if has_space else " ") + choice


@dataclass(frozen=True, slots=True)
class Task:
    """The questions of a file, and what it is called in reports."""

    name: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class TaskQuality:
    """How a model did in a task.

    Args:
        name: The task.
        num_questions: How many questions it has.
        accuracy: Share of questions whose right choice scored highest.
        standard_error: The accuracy's, of a binomial distribution.
    """

    name: str
    num_questions: int
    accuracy: float
    standard_error: float

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        return asdict(self)


def read_task(path: Path | str) -> Task:
    """Read a task; empty lines are passed over, and so are keys that nothing here reads.

    Raises:
        OptionError: The file cannot be read, or a line is not a question; file and line are named.
    """
    lines = read_utf8(path).split("\n")
    questions = tuple(
        _parse(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.strip()
    )
    if not questions:
        raise OptionError(f"{path} is empty: there is no question in it")
    return Task(Path(path).name, questions)


def passages_of(
    question: Question, tokenizer: Tokenizer, *, prefix: Sequence[int], context_length: int
) -> list[Passage]:
    """Return what to score for each choice: the tokens that follow those of the question alone.

    Where the end of the question and the beginning of a choice become one token, that token is the choice's.

    Raises:
        OptionError: A choice does not fit the context after the question.
    """
    texts = [question.text, *(question.continued(choice) for choice in question.choices)]
    asked, *rows = ([*prefix, *ids] for ids in tokenizer.encode_batch(texts, add_special_tokens=False))
    passages = []
    for row in rows:
        if len(row) > context_length:
            raise OptionError(
                f"{question.place}: question and choice have {len(row)} tokens, but the context holds {context_length}"
            )
        shared = next((i for i, (a, b) in enumerate(zip(asked, row, strict=False)) if a != b), len(asked))
        passages.append(Passage(row, len(row) - min(max(shared, 1), len(row) - 1)))
    return passages


def score_task(
    scorer: Scorer, task: Task, passages: Sequence[Sequence[Passage]], *, advance: Advance
) -> TaskQuality:
    """Answer every question by its choices' passages, in the same order.

    Raises:
        GenerationError: The model failed to run.
    """
    num_right = 0
    for question, choices in zip(task.questions, passages, strict=True):
        scores = [
            -float(score_tokens(scorer, [passage], advance=advance).sum()) / len(choice.encode())
            for choice, passage in zip(question.choices, choices, strict=True)
        ]
        num_right += scores.index(max(scores)) == question.answer
    count = len(task.questions)
    accuracy = num_right / count
    return TaskQuality(task.name, count, accuracy, math.sqrt(accuracy * (1 - accuracy) / count))


def _parse(line: str, place: str) -> Question:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise OptionError(f"{place}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise OptionError(f'{place}: a question is an object with "question", "choices" and "answer"')
    if missing := [name for name in ("question", "choices", "answer") if name not in values]:
        raise OptionError(f'{place}: "{missing[0]}" is missing')
    text, choices, answer = values["question"], values["choices"], values["answer"]
    if not isinstance(text, str) or not text.strip():
        raise OptionError(f'{place}: "question" must be a text, not {text!r:.100}')
    if not isinstance(choices, list) or not all(isinstance(each, str) and each.strip() for each in choices):
        raise OptionError(f'{place}: "choices" must be a list of texts, not {choices!r:.100}')
    if len(set(choices)) < max(2, len(choices)):
        raise OptionError(f'{place}: "choices" must be at least two different texts, not {choices!r:.100}')
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        raise OptionError(
            f'{place}: "answer" must be the index of a choice, 0 to {len(choices) - 1}, not {answer!r:.100}'
        )
    return Question(text, tuple(choices), answer, place)
