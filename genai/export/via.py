"""The exporters that a caller can choose from."""

from __future__ import annotations

from genai.errors import OptionError, did_you_mean

__all__ = ["VIAS", "check_via"]

VIAS = ("auto", "native", "transformers")
"""What `via` may be: an exporter, or "auto" for the first in this order that takes the model."""


def check_via(via: str) -> None:
    """See that there is such an exporter.

    Raises:
        OptionError: There is none.
    """
    if via not in VIAS:
        raise OptionError(f'via must be one of {", ".join(VIAS)}, not "{via}".{did_you_mean(via, VIAS)}')
