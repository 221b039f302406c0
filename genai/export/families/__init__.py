"""The decoders that genai can export, one declarative file per Hugging Face model_type.

A family says which architectures it covers, how config.json becomes a `DecoderSpec`, and what the weights are called.
If a family needs control flow in the builder, the builder is missing an op. Every module of this package is a family
and has a `FAMILY`; a new one needs no entry anywhere else.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil

from genai.errors import UnsupportedModelError
from genai.export.architecture.family import Family

__all__ = ["FAMILIES", "find_family"]

FAMILIES: tuple[Family, ...] = tuple(
    importlib.import_module(f"{__name__}.{module.name}").FAMILY for module in pkgutil.iter_modules(__path__)
)


def find_family(architecture: str) -> Family:
    """Return the family that covers an architecture.

    Raises:
        UnsupportedModelError: None does.
    """
    by_architecture = {name: family for family in FAMILIES for name in family.architectures}
    if architecture not in by_architecture:
        nearest = difflib.get_close_matches(architecture, by_architecture, n=1, cutoff=0.9)
        guess = f' Did you mean "{nearest[0]}"?' if nearest else ""
        raise UnsupportedModelError(
            f'the architecture "{architecture}" is not one of genai\'s families.{guess} docs/families.md lists the '
            f"{len(by_architecture)} architectures that are"
        )
    return by_architecture[architecture]
