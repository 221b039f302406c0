"""The options of a generation as keyword arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

from genai.config.response_format import ResponseFormatLike
from genai.config.watermark import WatermarkSettings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["GenerationOptions", "LogitsFunction", "StoppingCriterion"]

LogitsFunction: TypeAlias = "Callable[[npt.NDArray[np.int64], npt.NDArray[np.float32]], npt.ArrayLike]"
"""Takes the tokens so far, prompt included, and the logits of the next one, float32 [vocab]; returns other logits."""

StoppingCriterion: TypeAlias = "Callable[[npt.NDArray[np.int64]], Any]"
"""Takes the tokens so far, prompt included; a true value ends the sequence."""


class GenerationOptions(TypedDict, total=False):
    """The options of a `GenerationConfig` as keyword arguments, for editors and type checkers.

    A single value may stand for a list of one, as in Hugging Face's API.
    """

    max_new_tokens: int | None
    min_new_tokens: int
    do_sample: bool | None
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    epsilon_cutoff: float
    eta_cutoff: float
    top_n_sigma: float
    xtc_probability: float
    xtc_threshold: float
    dynatemp_range: float
    dynatemp_exponent: float
    mirostat: int
    mirostat_tau: float
    mirostat_eta: float
    samplers: str | Iterable[str]
    repetition_penalty: float
    encoder_repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    repetition_last_n: int | None
    dry_multiplier: float
    dry_base: float
    dry_allowed_length: int
    dry_penalty_last_n: int | None
    dry_sequence_breakers: str | Iterable[str]
    exponential_decay_length_penalty: tuple[int, float] | None
    no_repeat_ngram_size: int
    bad_words: str | Iterable[str | Sequence[int]]
    logit_bias: Mapping[int, float]
    sequence_bias: Mapping[tuple[int, ...], float]
    suppress_tokens: int | Iterable[int]
    begin_suppress_tokens: int | Iterable[int]
    forced_bos_token_id: int | None
    forced_eos_token_id: int | Iterable[int]
    watermarking_config: WatermarkSettings | Mapping[str, Any] | None
    guidance_scale: float
    negative_prompt: str | Iterable[int] | None
    num_beams: int
    num_beam_groups: int
    diversity_penalty: float
    num_return_sequences: int
    best_of: int | None
    length_penalty: float
    early_stopping: bool | Literal["never"]
    renormalize_logits: bool
    stop: str | Iterable[str]
    stop_regex: str | Iterable[str]
    stop_token_ids: int | Iterable[int]
    eos_token_ids: int | Iterable[int] | None
    ignore_eos: bool
    max_time: float | None
    stopping_criteria: StoppingCriterion | Iterable[StoppingCriterion]
    logits_processors: LogitsFunction | Iterable[LogitsFunction]
    max_reasoning_tokens: int | None
    logprobs: bool
    top_logprobs: int
    prompt_logprobs: int | None
    echo: bool
    seed: int | None
    context_policy: Literal["stop", "truncate_turns", "shift"]
    num_sink_tokens: int
    response_format: ResponseFormatLike | None
    speculative: Literal["auto", "off", "ngram", "draft"]
    num_draft_tokens: int | None
    adapter: str | None
