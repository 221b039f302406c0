"""The evaluation of one model as a whole, and finding what it is compared with."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from genai._version import __version__
from genai.errors import OptionError
from genai.evaluation.graphs import read_graphs
from genai.evaluation.quality.comparison import TokenComparison, check_same_vocabulary, compare_tokens
from genai.evaluation.quality.corpus import Text, packaged_texts
from genai.evaluation.quality.layers import layer_errors
from genai.evaluation.quality.passages import Passage, Windows, cut_passages
from genai.evaluation.quality.perplexity import Advance, Scorer, score_tokens
from genai.evaluation.quality.report import QualityReport, TextQuality
from genai.evaluation.quality.tasks import Task, passages_of, score_task
from genai.folder import ModelFolder
from genai.generator import Generator
from genai.hub import LocalModel, Progress, find_snapshot, resolve
from genai.prepare import prepare_model
from genai.runtime.installed import runtime_version
from genai.text import Tokenizer, prefix_of

__all__ = ["evaluate_quality", "prepare_reference"]

ALL = "all"

CutText = tuple[str, Sequence[Passage]]
"""A text's name and its passages."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What has to be scored: the passages of every text, and of every choice of every question of every task."""

    windows: Windows
    texts: Sequence[CutText]
    tasks: Sequence[Sequence[Sequence[Passage]]]

    @property
    def num_tokens(self) -> int:
        """How many tokens are scored."""
        choices = itertools.chain.from_iterable(itertools.chain.from_iterable(self.tasks))
        passages = itertools.chain(choices, *(passages for _, passages in self.texts))
        return sum(passage.num_scored for passage in passages)


def evaluate_quality(
    model: Generator,
    *,
    against: Generator | None = None,
    texts: Sequence[Text] | None = None,
    tasks: Sequence[Task] = (),
    window: int | None = None,
    stride: int | None = None,
    layers: bool = False,
    name: str | None = None,
    progress: Progress | None = None,
) -> QualityReport:
    """Measure how well a model predicts texts and answers questions.

    Args:
        model: The model.
        against: A model with the same vocabulary to compare its distributions with, such as the one that it was
            quantized from (`prepare_reference`).
        texts: The texts; None takes the two that come with the package.
        tasks: Multiple-choice tasks (`read_task`).
        window: Most tokens that are run together; None is 1,024, or the context if that is shorter.
        stride: How many tokens further the next window begins; None is half the window.
        layers: Whether to measure the error of every layer, too; needs `against`, and memory for one of the two models
            a second time.
        name: What the report calls the model; None is its folder's name.
        progress: Called with (what, tokens scored, tokens in all).

    Raises:
        OptionError: An option is impossible, a text too short, or the reference has another vocabulary, or layers
            that cannot be compared.
        TokenizerError: A folder has no tokenizer.
        GenerationError: A model failed to run.
    """
    if layers and against is None:
        raise OptionError("the error of a layer is a distance from a reference: give one")
    name = name or model.folder.path.name
    texts = packaged_texts() if texts is None else texts
    work = _plan(model, against=against, texts=texts, tasks=tasks, window=window, stride=stride)
    advance = _counter(f"Evaluating {name}", work.num_tokens, progress)
    errors = layer_errors(model, against, work.texts[0][1][0].token_ids) if layers and against else None
    scorer = Scorer(model)
    if against is None:
        *measured, overall = _score_texts(scorer, work.texts, advance)
    else:
        *measured, overall = _compare_texts(scorer, Scorer(against), work.texts, advance)
    tokens_per_second = scorer.tokens_per_second
    answered = [
        score_task(scorer, task, passages, advance=advance)
        for task, passages in zip(tasks, work.tasks, strict=True)
    ]
    graphs = read_graphs(model.folder)
    return QualityReport(
        model=name,
        path=model.folder.path,
        precision=model.folder.manifest.precision if model.folder.manifest else graphs.precision,
        num_bytes=graphs.num_bytes,
        provider=model.provider,
        reference=None if against is None else against.folder.path,
        windows=work.windows,
        texts=tuple(measured),
        overall=overall,
        tasks=tuple(answered),
        layer_errors=errors,
        tokens_per_second=tokens_per_second,
        versions={"genai": __version__, "onnxruntime": runtime_version()},
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def prepare_reference(
    name: str | Path, *, offline: bool = False, progress: Progress | None = None
) -> ModelFolder:
    """Return the folder to compare with: a model folder as it is, a checkpoint exported at fp32 and kept.

    Raises:
        GenaiError: As `genai.prepare.prepare_model`.
    """
    found = resolve(name)
    if isinstance(found, LocalModel):
        is_folder = ModelFolder.is_model_folder(found.path)
    else:
        snapshot = find_snapshot(found, prefer_checkpoint=True, offline=offline, update=False)
        is_folder = snapshot.selection.is_model_folder
    precision = None if is_folder else "fp32"
    return prepare_model(name, precision=precision, offline=offline, progress=progress)


def _plan(
    model: Generator,
    *,
    against: Generator | None,
    texts: Sequence[Text],
    tasks: Sequence[Task],
    window: int | None,
    stride: int | None,
) -> _Work:
    """Cut everything into passages, so that whatever cannot be scored is refused before anything runs."""
    if not texts:
        raise OptionError("texts is empty: give at least one, or None for those that come with the package")
    context_length = model.context_length
    if against is not None:
        context_length = min(context_length, against.context_length)
        check_same_vocabulary(model, against, [text.content for text in texts])
    windows = Windows.choose(context_length, size=window, stride=stride)
    prefix = prefix_of(model.tokenizer)
    asked = partial(
        passages_of, tokenizer=model.tokenizer, prefix=prefix, context_length=model.context_length
    )
    return _Work(
        windows,
        [(text.name, _cut(text, model.tokenizer, prefix, windows)) for text in texts],
        [[asked(question) for question in task.questions] for task in tasks],
    )


def _cut(text: Text, tokenizer: Tokenizer, prefix: Sequence[int], windows: Windows) -> list[Passage]:
    try:
        return cut_passages(tokenizer.encode(text.content, add_special_tokens=False), prefix, windows)
    except OptionError as error:
        raise OptionError(f"{text.name}: {error}") from error


def _score_texts(scorer: Scorer, texts: Sequence[CutText], advance: Advance) -> Iterator[TextQuality]:
    """Yield what is measured on every text, and last on all of them."""
    nlls = []
    for name, passages in texts:
        nlls.append(score_tokens(scorer, passages, advance=advance))
        yield TextQuality.of(name, nlls[-1])
    yield TextQuality.of(ALL, np.concatenate(nlls))


def _compare_texts(
    scorer: Scorer, reference: Scorer, texts: Sequence[CutText], advance: Advance
) -> Iterator[TextQuality]:
    """Yield what is measured on every text beside a reference, and last on all of them."""
    compared = []
    for name, passages in texts:
        compared.append(compare_tokens(scorer, reference, passages, advance=advance))
        yield TextQuality.of(name, compared[-1].nll, compared[-1].summarize())
    joined = TokenComparison.join(compared)
    yield TextQuality.of(ALL, joined.nll, joined.summarize())


def _counter(what: str, total: int, progress: Progress | None) -> Advance:
    """Return a function that adds to what is done and tells the caller."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(what, done, total)

    return advance
