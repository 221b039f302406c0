"""What a loaded model makes of texts without going on with them: scores, vectors, and what its cache holds of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from genai.cache import CachedPrefix
from genai.chat_prompt import ChatPrompt
from genai.config import GenerationConfig
from genai.config.checks import Integer
from genai.embedding import Pooling
from genai.errors import OptionError
from genai.request_builder import TokenIds, is_batch
from genai.request_runner import RequestRunner
from genai.runtime.fingerprint import fingerprint_of
from genai.scoring import TokenScores, score_tokens

if TYPE_CHECKING:
    from genai.reranking import Judgement, RankedDocument

__all__ = ["TextReader"]


class TextReader:
    """Reads texts with the model that a runner runs. What arguments mean and what is raised, `Generator` says.

    Args:
        runner: Has the model, until it is closed.
    """

    def __init__(self, runner: RequestRunner) -> None:
        self._runner = runner

    def score(
        self,
        text: str | Sequence[str] | None,
        *,
        context: str | None,
        token_ids: TokenIds | None,
        adapter: str | None,
    ) -> TokenScores | list[TokenScores]:
        """Return how likely the tokens of a text are, or of each of several."""
        encode = self._runner.loaded.builder.encode_continuation
        if text is None or isinstance(text, str):
            return self._score(encode(text, context, token_ids), adapter)
        if not isinstance(text, Sequence):
            raise OptionError(f"text must be a text or a list of texts, not {text!r:.200}")
        if token_ids is not None:
            raise OptionError("pass either a text or token_ids")
        return [self._score(encode(each, context), adapter) for each in text]

    def embed(
        self,
        text: str | Sequence[str] | None,
        *,
        token_ids: TokenIds | Sequence[TokenIds] | None,
        pooling: Pooling,
        normalize: bool,
    ) -> npt.NDArray[np.float32]:
        """Return the vector of a text, or those of several."""
        loaded = self._runner.loaded
        rows = loaded.builder.encode_prompts(text, token_ids)
        if not rows:
            return np.zeros((0, loaded.folder.decoder.hidden_size), np.float32)
        vectors = [loaded.embedder.embed(row, pooling=pooling, normalize=normalize) for row in rows]
        return np.stack(vectors) if is_batch(text, token_ids) else vectors[0]

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None,
        instruction: str | None,
        adapter: str | None,
    ) -> list[RankedDocument]:
        """Return documents, those first that answer a query best."""
        from genai.reranking import judge, rank  # with what only conversations need

        loaded = self._runner.loaded
        _check_texts(query, documents)
        Integer(1, or_none=True)("top_n", top_n)
        tokenizer, limit = loaded.builder.tokenizer, loaded.decoder.context_length
        judgements = [judge(tokenizer, query, each, instruction=instruction) for each in documents]
        for index, each in enumerate(judgements):
            if len(each.token_ids) >= limit:
                raise OptionError(
                    f"documents[{index}] takes {len(each.token_ids)} tokens with the query, and the context holds {limit}: "
                    "shorten it"
                )
        requests = [
            loaded.builder.build(
                ChatPrompt(each.token_ids), config=_asking(each, adapter), options={}, stream=False
            )
            for each in judgements
        ]
        self._runner.run(requests)
        return rank(documents, [each.score for each in judgements], top_n=top_n)

    def save_cache(self, path: Path, prompt: ChatPrompt, *, adapter: str | None) -> int:
        """Write what the cache holds of a prompt to a file; return how many tokens that is."""
        loaded = self._runner.loaded
        prefix = loaded.engines.compute_prefix(prompt.token_ids, adapter=adapter)
        prefix.save(path, model=fingerprint_of(loaded.folder))
        return len(prefix.token_ids)

    def load_cache(self, path: Path) -> list[int]:
        """Let the cache hold what a file does; return its tokens."""
        loaded = self._runner.loaded
        prefix = CachedPrefix.load(
            path, model=fingerprint_of(loaded.folder), shape=loaded.decoder.cache.shape
        )
        loaded.engines.write_prefix(prefix)
        return list(prefix.token_ids)

    def _score(self, continuation: tuple[list[int], int], adapter: str | None) -> TokenScores:
        token_ids, num_scored = continuation
        engines = self._runner.loaded.engines
        return score_tokens(
            lambda ids, count: engines.score(ids, num_logits=count, adapter=adapter),
            token_ids,
            num_scored=num_scored,
        )


def _check_texts(query: Any, documents: Any) -> None:
    if not isinstance(query, str):
        raise OptionError(f"query must be a text, not {query!r:.200}")
    is_list = isinstance(documents, Sequence) and not isinstance(documents, str)
    if not is_list or not all(isinstance(each, str) for each in documents):
        raise OptionError(f"documents must be a list of texts, not {documents!r:.200}")


def _asking(judgement: Judgement, adapter: str | None) -> GenerationConfig:
    """Return the options of a request for one token, whose logits a judgement sees."""
    return GenerationConfig(
        max_new_tokens=1, ignore_eos=True, speculative="off", adapter=adapter, logits_processors=(judgement,)
    )
