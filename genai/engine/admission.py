"""Whether a model can run a request at all, looked at before it is queued."""

from __future__ import annotations

from collections.abc import Sequence

from genai.engine.request import Request
from genai.engine.speculation import Speculation
from genai.engine.strategies import Strategy, make_strategy
from genai.errors import OptionError, PromptTooLongError, did_you_mean
from genai.model import Model

__all__ = ["Admission"]


class Admission:
    """Refuses what can never run.

    Args:
        model: What runs.
        speculation: What guesses sequences ahead.
    """

    def __init__(self, model: Model, speculation: Speculation) -> None:
        self._model = model
        self._speculation = speculation

    def prepare(self, request: Request) -> Strategy:
        """Return a request's strategy, to be put among those that wait, after seeing that it can run.

        Raises:
            OptionError: It can never run: too long, too many sequences, or an option does not fit the model.
        """
        self.check_prompt(request.prompt_token_ids)
        if request.negative_token_ids:
            self._check_negative(request.negative_token_ids)
        fills_context = len(request.prompt_token_ids) == self._model.context_length and not request.shifts
        if request.config.prompt_logprobs is not None and fills_context:
            raise OptionError(
                f"prompt_logprobs: the prompt fills the context of {self._model.context_length} tokens, but one token after "
                "it is generated: shorten the prompt by one"
            )
        self.check_adapter(request.adapter)
        self._speculation.check_options(request.config)
        config = request.config  # asked before any are made: a stranger's number may be larger than memory
        self._check_count(max(config.num_beams, config.num_return_sequences, config.best_of or 1))
        strategy = make_strategy(request, self._model)
        self._check_count(len(strategy.sequences))
        if request.shifts:
            self._check_shift(request, strategy)
        return strategy

    def _check_count(self, num_sequences: int) -> None:
        if num_sequences > self._model.max_batch:
            raise OptionError(
                f"{num_sequences} sequences (num_beams, num_return_sequences or best_of; twice as many with "
                f"guidance_scale) are more than max_batch={self._model.max_batch}"
            )

    def _check_shift(self, request: Request, strategy: Strategy) -> None:
        self._model.rotations()
        num_sinks, window = request.config.num_sink_tokens, strategy.sequences[0].window or 0
        longest = max(sequence.num_prompt for sequence in strategy.sequences)
        if longest > window:
            raise OptionError(
                f"the prompt has {longest} tokens, but kv_cache_bytes has room for {window}: raise it, or shorten the prompt"
            )
        if window - num_sinks < 2:
            raise OptionError(
                f"num_sink_tokens must leave two of the {window} tokens that the context holds to be dropped, so be at most "
                f"{window - 2}, not {num_sinks}"
            )

    def check_prompt(self, token_ids: Sequence[int]) -> None:
        """See that the model can be fed these tokens.

        Raises:
            OptionError: They are none, too many, or not of the vocabulary.
        """
        length, limit = len(token_ids), self._model.context_length
        if length == 0:
            raise OptionError(
                "the prompt is empty: it has no tokens, not even one that begins a text",
                option="prompt_token_ids",
            )
        if length > limit:
            raise PromptTooLongError(
                f"the prompt has {length} tokens, but the context holds {limit}: shorten the prompt",
                option="prompt_token_ids",
            )
        if min(token_ids) < 0 or max(token_ids) >= self._model.vocab_size:
            raise OptionError(
                f"token ids must be at least 0 and less than {self._model.vocab_size}, the vocabulary",
                option="prompt_token_ids",
            )

    def _check_negative(self, token_ids: Sequence[int]) -> None:
        try:
            self.check_prompt(token_ids)
        except OptionError as error:
            raise OptionError(f"negative_prompt: {error}") from error
        if len(token_ids) == self._model.context_length:
            raise OptionError(f"negative_prompt fills the context of {len(token_ids)} tokens: shorten it")

    def check_adapter(self, name: str | None) -> None:
        """See that the model can compute with an adapter.

        Raises:
            OptionError: It has none of this name.
        """
        known = sorted(self._model.adapters)
        if name is not None and name not in known:
            raise OptionError(
                f'the model has no adapter "{name}"; it has: {", ".join(known) or "none"}.{did_you_mean(name, known)}'
            )
