"""The one exception tree: everything that genai raises on purpose derives from `GenaiError`.

```
GenaiError
├── OptionError (ValueError)        an option is unknown, out of range, or impossible with this model
│   └── PromptTooLongError          a prompt has more tokens than the context holds
├── ModelNotFoundError              a name is no path, alias or hub repository, or cannot be had offline
├── ModelFolderError                a model folder is incomplete, damaged, or of a kind that cannot run
├── CheckpointError                 a checkpoint is incomplete, damaged, or misshapen
│   └── UnsupportedModelError       its architecture, or something its config asks for, is not supported
├── ExportError                     an export failed for a reason outside the checkpoint (disk, target)
├── CacheFileError                  a saved cache is damaged, or of another model
├── ProviderError                   an execution provider, or ONNX Runtime itself, is not available
├── TokenizerError                  a tokenizer is missing or cannot be read
├── ChatTemplateError               a chat template is missing, wrong, or refused the conversation
└── GenerationError                 a running generation failed
    ├── OutOfMemoryError            a device has not enough memory for one request
    └── UnusableOptionsError        its own options leave it no token (an OptionError, too)
```

A message says what failed, where, what was expected, what came, and what to do about it. `assert` is for this
package's own invariants; whatever a user, a file or a network can cause raises one of these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = [
    "CacheFileError",
    "ChatTemplateError",
    "CheckpointError",
    "ExportError",
    "GenaiError",
    "GenerationError",
    "ModelFolderError",
    "ModelNotFoundError",
    "OptionError",
    "OutOfMemoryError",
    "PromptTooLongError",
    "ProviderError",
    "TokenizerError",
    "UnsupportedModelError",
    "UnusableOptionsError",
    "did_you_mean",
]


class GenaiError(Exception):
    """Base of every error that genai raises on purpose."""


class OptionError(GenaiError, ValueError):
    """An option is unknown, out of range, or impossible with this model.

    Args:
        message: What is wrong.
        option: The option, where one alone is to blame.

    >>> OptionError("top_k must be an integer", option="top_k").option
    'top_k'
    """

    def __init__(self, message: str, *, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class PromptTooLongError(OptionError):
    """A prompt has more tokens than the model's context holds."""


class ModelNotFoundError(GenaiError):
    """A model name resolves to nothing, or to something that cannot be had now."""


class ModelFolderError(GenaiError):
    """A model folder is incomplete, damaged, or of a kind that cannot run."""


class CheckpointError(GenaiError):
    """A checkpoint is incomplete, damaged, or has tensors of the wrong shape."""


class UnsupportedModelError(CheckpointError):
    """A checkpoint's architecture, or something its config asks for, is not supported."""


class ExportError(GenaiError):
    """An export failed for a reason outside the checkpoint, such as the disk or the target folder."""


class CacheFileError(GenaiError):
    """A saved cache is damaged, or of another model."""


class ProviderError(GenaiError):
    """An execution provider, or ONNX Runtime itself, is not available."""


class TokenizerError(GenaiError):
    """A tokenizer is missing or cannot be read."""


class ChatTemplateError(GenaiError):
    """A chat template is missing, wrong, or refused the conversation."""


class GenerationError(GenaiError):
    """A running generation failed.

    Attributes:
        results: Where one of several prompts failed by itself: each one's result, in order, and None for what failed.
    """

    results: Sequence[Any] = ()


class OutOfMemoryError(GenerationError):
    """A device has not enough memory for what one request needs; others go on."""


class UnusableOptionsError(OptionError, GenerationError):
    """A running generation failed by its own options: together they leave no token, or take a logit beyond all numbers."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that suggests the nearest of the known names, or an empty string.

    >>> did_you_mean("temprature", ["temperature", "top_k"])
    ' Did you mean "temperature"?'
    >>> did_you_mean("xyz", ["temperature"])
    ''
    """
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f' Did you mean "{nearest[0]}"?' if nearest else ""
