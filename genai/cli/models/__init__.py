"""`genai models`: what models there are and which of them are on this machine."""

from __future__ import annotations

from genai.cli.models.list import list_models
from genai.cli.models.pull import pull_model
from genai.cli.models.remove import remove_model
from genai.cli.models.show import show_model

__all__ = ["list_models", "pull_model", "remove_model", "show_model"]
