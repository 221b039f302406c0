"""The checkpoint as Hugging Face's transformers computes it: the only module that imports torch and transformers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genai.errors import CheckpointError, GenaiError

try:
    import torch
    import transformers
except ImportError as error:
    raise GenaiError(
        "comparing with a checkpoint needs torch and transformers: pip install torch transformers (in a checkout of "
        f'genai, its extra "reference"); without --against nothing but the folder itself is checked. [{error}]'
    ) from error

__all__ = ["Reference"]


class Reference:
    """A checkpoint in transformers, in float32 on the CPU.

    Args:
        path: The checkpoint's folder.

    Raises:
        CheckpointError: transformers cannot load it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.is_file():
            raise CheckpointError(
                f"{path}: transformers loads folders, and this is a GGUF file; compare with the checkpoint that it was made "
                "from, or export it with --precision fp32 and compare the two folders"
            )
        with _quiet():
            try:
                model: Any = transformers.AutoModelForCausalLM.from_pretrained(
                    path, dtype=torch.float32, attn_implementation="eager", local_files_only=True
                )
            except Exception as error:  # whatever the model's own code raises
                raise CheckpointError(
                    f"{path}: transformers {transformers.__version__} cannot load the checkpoint: {error}"
                ) from error
        self._model = model.eval()

    @property
    def versions(self) -> dict[str, str]:
        """The versions of the packages that compute."""
        return {"torch": str(torch.__version__), "transformers": str(transformers.__version__)}

    def logits(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return the logits at every token, float32 [num_tokens, vocab].

        Raises:
            CheckpointError: transformers cannot run it, for example because it has no such tokens.
        """
        with torch.inference_mode(), _quiet():
            try:
                output = self._model(input_ids=torch.tensor([list(token_ids)]), use_cache=False)
            except (IndexError, RuntimeError) as error:
                raise CheckpointError(
                    f"{self._path}: transformers {transformers.__version__} cannot run the checkpoint on the folder's "
                    f"tokens up to {max(token_ids)}: {error}"
                ) from error
        logits: npt.NDArray[np.float32] = output.logits[0].float().numpy()
        return logits


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars and notes off stderr."""
    log: Any = transformers.utils.logging
    verbosity, had_bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if had_bars:
            log.enable_progress_bar()
