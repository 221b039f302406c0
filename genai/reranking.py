"""How well documents answer a query, as a language model judges: its next token is "yes" rather than "no".

The prompt is that of Qwen3-Reranker (https://huggingface.co/Qwen/Qwen3-Reranker-0.6B), in the model's own chat template.
Knows texts and tokens; who computes logits is the caller's business.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from genai.errors import ChatTemplateError, OptionError
from genai.text import ChatTemplate, Tokenizer
from genai.tools import find_reasoning, opens_reasoning

__all__ = ["Judgement", "RankedDocument", "judge", "rank"]

TASK = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".'
)
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
"""What a document is wanted for, unless a caller says it."""


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document, and how well it answers a query.

    Args:
        index: Where it stood in the list.
        score: The probability of "yes" against "no", from 0 to 1.
        document: The document.
    """

    index: int
    score: float
    document: str


class Judgement:
    """The prompt that asks about one document, and the answer, once somebody has called this with its logits.

    Args:
        token_ids: The prompt.
        yes: The token that a good document is answered with.
        no: The token that another one is answered with.
    """

    def __init__(self, token_ids: Sequence[int], *, yes: int, no: int) -> None:
        self.token_ids = list(token_ids)
        self.score = math.nan
        self._yes, self._no = yes, no

    def __call__(self, _: object, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Take the score from the logits after the prompt, float32 [vocab], as a function of `logits_processors`."""
        difference = float(logits[self._yes]) - float(logits[self._no])
        self.score = 1 / (1 + math.exp(-difference)) if difference > -700 else 0.0
        return logits


def judge(tokenizer: Tokenizer, query: str, document: str, *, instruction: str | None) -> Judgement:
    """Return what asks whether a document answers a query.

    A model without chat template is asked in plain words.

    Raises:
        ChatTemplateError: The template refuses the prompt.
        OptionError: The tokenizer does not tell the answers apart.
    """
    asked = (
        f"<Instruct>: {INSTRUCTION if instruction is None else instruction}\n"
        f"<Query>: {query}\n<Document>: {document}"
    )
    template = tokenizer.chat_template
    if template is None:
        begun, words = f"{TASK}\n\n{asked}\n\nAnswer:", (" yes", " no")
    else:
        begun, words = _render(template, asked, query, document, instruction), ("yes", "no")
    # Encoded with the answer, so that the prompt ends where the model would find the answer to begin.
    yes, no = (tokenizer.encode(begun + word, add_special_tokens=template is None) for word in words)
    end = next((i for i, pair in enumerate(zip(yes, no, strict=False)) if pair[0] != pair[1]), None)
    if end is None:
        raise OptionError('this model cannot rank documents: its tokenizer does not tell "yes" from "no"')
    return Judgement(yes[:end], yes=yes[end], no=no[end])


def rank(documents: Sequence[str], scores: Sequence[float], *, top_n: int | None) -> list[RankedDocument]:
    """Return documents, best first and equal ones in order, at most so many."""
    ranked = [RankedDocument(index, *pair) for index, pair in enumerate(zip(scores, documents, strict=True))]
    return sorted(ranked, key=lambda each: -each.score)[:top_n]


def _render(template: ChatTemplate, asked: str, query: str, document: str, instruction: str | None) -> str:
    if all(re.search(rf"""['"]{role}['"]""", template.source) for role in ("query", "document")):
        messages: list[Any] = [{"role": "query", "content": query}, {"role": "document", "content": document}]
        if instruction is not None:
            messages.insert(0, {"role": "system", "content": instruction})
        return template.render(messages)  # a reranker's own
    try:
        text = template.render(
            [{"role": "system", "content": TASK}, {"role": "user", "content": asked}], enable_thinking=False
        )
    except ChatTemplateError:  # some know no system message
        text = template.render([{"role": "user", "content": f"{TASK}\n\n{asked}"}], enable_thinking=False)
    reasoning = find_reasoning(template.source)
    if reasoning is not None and opens_reasoning(reasoning, text):
        text += f"\n{reasoning.end}\n\n"  # the answer is what is judged
    return text
