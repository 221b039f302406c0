"""Makes training batches: conversations of augmented questions and their answers, as token ids with loss weights.

Deterministic: a batch depends only on the corpus, the settings and the random generator that is passed in.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from .augment import Augmenter
from .corpus import Corpus, Intent, Question, normalize_question
from .tokenizer import PAD_TOKEN, TURN_END, TURN_START


@dataclass(frozen=True, slots=True)
class ConversationSettings:
    """How conversations are composed and which of their tokens the loss looks at."""

    single_turn_share: float = 0.84
    long_share: float = 0.01
    system_share: float = 0.25
    shortened_share: float = (
        0.8  # turns whose answer is cut after `shortened_tokens`: more questions per second
    )
    shortened_tokens: int = 8
    resegment_share: float = 0.2  # questions with a word cut at an unusual place, against typos
    question_weight: float = 0.1
    max_tokens: int = 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded conversations.

    input_ids: int64 [rows, length]; weights: float32 [rows, length], the loss weight of predicting each id;
    is_question: bool [rows, length]; decision_rows, decision_columns, intents: int64 [turns], the last prompt
    position of every turn and the index of its intent.
    """

    input_ids: torch.Tensor
    weights: torch.Tensor
    is_question: torch.Tensor
    decision_rows: torch.Tensor
    decision_columns: torch.Tensor
    intents: torch.Tensor


@dataclass(slots=True)
class _Row:
    ids: list[int]
    weights: list[float]
    is_question: list[bool]
    decisions: list[tuple[int, int]]

    def extend(self, ids: list[int], weight: float, *, is_question: bool = False) -> None:
        self.ids += ids
        self.weights += [weight] * len(ids)
        self.is_question += [is_question] * len(ids)


class ConversationMaker:
    """An endless source of batches that never contains a forbidden (held-out) question."""

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Tokenizer,
        *,
        forbidden: tuple[Question, ...],
        settings: ConversationSettings = ConversationSettings(),
    ) -> None:
        self._corpus = corpus
        self._tokenizer = tokenizer
        self._settings = settings
        self._augmenter = Augmenter(corpus.wording)
        self._forbidden = frozenset(normalize_question(question.text) for question in forbidden)
        self._index = {intent.name: i for i, intent in enumerate(corpus.intents)}
        self._choice_weights = [(len(i.phrasings) + len(i.terms) / 2) ** 0.5 for i in corpus.intents]
        self._answers = {i.name: self._encode(i.answer + TURN_END) for i in corpus.intents}
        self._user = self._encode(f"{TURN_START}user\n")
        self._system = self._encode(f"{TURN_START}system\n")
        self._assistant = self._encode(f"{TURN_END}\n{TURN_START}assistant\n")
        self._newline = self._encode("\n")
        self._turn_end = self._encode(f"{TURN_END}\n")
        self._pad = tokenizer.token_to_id(PAD_TOKEN)

    def batches(self, rng: random.Random, *, batch_tokens: int, pool: int = 24) -> Iterator[Batch]:
        """Yield batches of at most about `batch_tokens` ids, padding included; rows of similar length go together."""
        while True:
            rows: list[_Row] = []
            while sum(len(row.ids) for row in rows) < batch_tokens * pool:
                rows += [self._row(rng) for _ in range(64)]
            rows.sort(key=lambda row: (len(row.ids), row.ids))
            groups: list[list[_Row]] = [[]]
            for row in rows:
                if groups[-1] and (len(groups[-1]) + 1) * len(row.ids) > batch_tokens:
                    groups.append([])
                groups[-1].append(row)
            rng.shuffle(groups)
            for group in groups:
                yield self._collate(group)

    @property
    def num_intents(self) -> int:
        """How many intents there are."""
        return len(self._corpus.intents)

    def question_ids(self, index: int, rng: random.Random) -> list[int]:
        """Return the tokens of a question for the intent of this index."""
        return self._encode(self.training_question(self._corpus.intents[index], rng))

    def training_question(self, intent: Intent, rng: random.Random) -> str:
        """Return a question for `intent` that is not forbidden."""
        while True:
            text = self._augmenter.question(intent, rng)
            if normalize_question(text) not in self._forbidden:
                return text

    def _row(self, rng: random.Random) -> _Row:
        settings = self._settings
        draw = rng.random()
        if draw < settings.single_turn_share:
            num_turns = 1
        elif draw < 1 - settings.long_share:
            num_turns = rng.randint(2, 5)
        else:
            num_turns = rng.randint(6, 14)
        row = _Row([], [], [], [])
        if rng.random() < settings.system_share:
            row.extend(
                [*self._system, *self._encode(rng.choice(self._corpus.wording.systems)), *self._turn_end], 0.0
            )
        intents = rng.choices(self._corpus.intents, weights=self._choice_weights, k=num_turns)
        for i, intent in enumerate(intents):
            self._add_turn(row, intent, rng, is_last=i == num_turns - 1)
        del (
            row.ids[settings.max_tokens :],
            row.weights[settings.max_tokens :],
            row.is_question[settings.max_tokens :],
        )
        row.decisions = [decision for decision in row.decisions if decision[0] < settings.max_tokens]
        return row

    def _add_turn(self, row: _Row, intent: Intent, rng: random.Random, *, is_last: bool) -> None:
        settings = self._settings
        row.extend(self._user, 0.0)
        question = self._encode_question(self.training_question(intent, rng), rng)
        row.extend(question, settings.question_weight, is_question=True)
        row.extend(self._assistant, 0.0)
        row.decisions.append((len(row.ids) - 1, self._index[intent.name]))
        answer = self._answers[intent.name]
        if is_last and rng.random() < settings.shortened_share:
            answer = answer[: settings.shortened_tokens]
        row.extend(answer, 1.0)
        if not is_last:
            row.extend(self._newline, 0.0)

    def _encode_question(self, text: str, rng: random.Random) -> list[int]:
        if len(text) > 4 and rng.random() < self._settings.resegment_share:
            cut = rng.randrange(1, len(text))
            return self._encode(text[:cut]) + self._encode(text[cut:])
        return self._encode(text)

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def _collate(self, rows: list[_Row]) -> Batch:
        length = max(len(row.ids) for row in rows)
        decisions = [(i, column, intent) for i, row in enumerate(rows) for column, intent in row.decisions]
        return Batch(
            input_ids=torch.tensor([row.ids + [self._pad] * (length - len(row.ids)) for row in rows]),
            weights=torch.tensor([row.weights + [0.0] * (length - len(row.ids)) for row in rows]),
            is_question=torch.tensor([row.is_question + [False] * (length - len(row.ids)) for row in rows]),
            decision_rows=torch.tensor([decision[0] for decision in decisions]),
            decision_columns=torch.tensor([decision[1] for decision in decisions]),
            intents=torch.tensor([decision[2] for decision in decisions]),
        )
