"""What a generation option does to the logits: the readable specification that the fast paths are held against.

Every function takes `logits: float32 [..., vocab]` and returns a new array of that shape; a forbidden token has the
logit -inf. The last axis is the vocabulary; leading axes, where a function accepts them, are rows that share the
options. Nothing here keeps state: a history is passed whole. Semantics are those of the LogitsProcessor classes of
transformers 5.23, and the order is its `_get_logits_processor`'s:

    guidance -> logit_bias -> sequence_bias -> encoder_repetition_penalty -> repetition, presence and frequency
    penalties -> DRY -> bans (n-grams, bad words, min_new_tokens) -> forced tokens -> exponential_decay_length_penalty
    -> suppress_tokens -> begin_suppress_tokens -> functions of the caller -> constraint -> temperature (or dynamic
    temperature) -> top_n_sigma -> top_k -> top_p -> min_p -> typical_p -> epsilon_cutoff -> eta_cutoff -> xtc ->
    watermark -> draw

Bans come after the penalties so that none can lift them (a penalty leaves -inf as it is: bans before penalties would
give the same); what is forced lifts the bans before it, as in transformers. The option `samplers` orders what comes
from temperature to xtc, and mirostat takes the place of the filters. What keeps groups of beams apart, of which
transformers 5.23 has none any more, comes behind the constraint. Token ids outside the vocabulary, which a model with
more embeddings than logits can have in its prompt, are passed over.
"""

from __future__ import annotations

from genai.sampling.processors.bans import (
    ban_bad_words,
    ban_eos,
    ban_repeated_ngrams,
    force_tokens,
    suppress_tokens,
)
from genai.sampling.processors.distribution import (
    Logits,
    draw,
    log_softmax,
    softmax,
)
from genai.sampling.processors.dry import max_dry_exponent, penalize_dry
from genai.sampling.processors.filters import (
    apply_dynamic_temperature,
    apply_temperature,
    eta_floor,
    exclude_top_choices,
    keep_epsilon,
    keep_eta,
    keep_min_p,
    keep_surprise,
    keep_top_k,
    keep_top_n_sigma,
    keep_top_p,
    keep_typical_p,
)
from genai.sampling.processors.guidance import guide
from genai.sampling.processors.penalties import (
    apply_logit_bias,
    apply_sequence_bias,
    decay_growth,
    penalize_presence_and_frequency,
    penalize_repetition,
    raise_eos,
)

__all__ = [
    "Logits",
    "apply_dynamic_temperature",
    "apply_logit_bias",
    "apply_sequence_bias",
    "apply_temperature",
    "ban_bad_words",
    "ban_eos",
    "ban_repeated_ngrams",
    "decay_growth",
    "draw",
    "eta_floor",
    "exclude_top_choices",
    "force_tokens",
    "guide",
    "keep_epsilon",
    "keep_eta",
    "keep_min_p",
    "keep_surprise",
    "keep_top_k",
    "keep_top_n_sigma",
    "keep_top_p",
    "keep_typical_p",
    "log_softmax",
    "max_dry_exponent",
    "penalize_dry",
    "penalize_presence_and_frequency",
    "penalize_repetition",
    "raise_eos",
    "softmax",
    "suppress_tokens",
]
