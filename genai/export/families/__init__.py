"""The decoders that genai can export, one declarative file per Hugging Face model_type.

A family says which architectures it covers, how config.json becomes a `DecoderSpec`, and what the weights are called.
If a family needs control flow in the builder, the builder is missing an op.
"""

from __future__ import annotations

from genai.errors import UnsupportedModelError, did_you_mean
from genai.export.families import gemma2, gemma3_text, gpt2, llama, mistral, phi, phi3, qwen2, qwen3
from genai.export.family import Family

__all__ = ["FAMILIES", "find_family"]

FAMILIES: tuple[Family, ...] = (
    gemma2.FAMILY,
    gemma3_text.FAMILY,
    gpt2.FAMILY,
    llama.FAMILY,
    mistral.FAMILY,
    phi.FAMILY,
    phi3.FAMILY,
    qwen2.FAMILY,
    qwen3.FAMILY,
)


def find_family(architecture: str) -> Family:
    """Return the family that covers an architecture.

    Raises:
        UnsupportedModelError: None does.
    """
    by_architecture = {name: family for family in FAMILIES for name in family.architectures}
    if architecture not in by_architecture:
        raise UnsupportedModelError(
            f'the architecture "{architecture}" is not supported.{did_you_mean(architecture, by_architecture)} '
            f"Supported are {', '.join(sorted(by_architecture))}"
        )
    return by_architecture[architecture]
