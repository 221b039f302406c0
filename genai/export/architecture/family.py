"""What a family is: the declaration that turns a checkpoint's config and names into a decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from genai.export.architecture import DecoderSpec
from genai.export.checkpoint.model_config import ModelConfig
from genai.export.checkpoint.weights import WeightMap

__all__ = ["Family"]


@dataclass(frozen=True, slots=True)
class Family:
    """A family of decoders.

    Args:
        architectures: Class names that config.json may have in `architectures`.
        model_type: The type that genai_config.json names, one that onnxruntime-genai knows; a function of the decoder where
            that depends on its layers.
        spec: Derives the decoder from the config's text part.
        weights: Where the parameters are in a checkpoint; a function of the config where that depends on it.
        defaults: Values of transformers' config class that a config.json may leave out.
        aliases: Other names that a config.json may use for keys of this family.
        prefixes: What may stand before the names of the weights; the first one in use counts.
        ignored: Regular expressions of tensors that the decoder has no part in, such as a vision tower's.
        outer_tied: Whether the class around a `text_config` ties the head to the embedding where config.json does not say so
            itself; `None` if the inner `tie_word_embeddings` counts then.
    """

    architectures: tuple[str, ...]
    model_type: str | Callable[[DecoderSpec], str]
    spec: Callable[[ModelConfig], DecoderSpec]
    weights: WeightMap | Callable[[ModelConfig], WeightMap]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ("model.", "")
    ignored: tuple[str, ...] = ()
    outer_tied: bool | None = None

    def model_type_of(self, spec: DecoderSpec) -> str:
        """Return the type that genai_config.json names for a decoder of this family."""
        return self.model_type if isinstance(self.model_type, str) else self.model_type(spec)

    def read(self, config: Mapping[str, Any]) -> tuple[DecoderSpec, WeightMap]:
        """Return the decoder that a config.json describes, and where its parameters are."""
        values = ModelConfig.of_decoder(
            config, defaults=self.defaults, aliases=self.aliases, outer_tied=self.outer_tied
        )
        spec = self.spec(values)
        return spec, self.weights(values) if callable(self.weights) else self.weights
