"""Random low-rank adapters of PEFT beside the checkpoints of `tests.checkpoints`, and what PEFT computes with them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.checkpoints import load_reference

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PEFT's own, about transformers' and its own names
    import peft


def make_adapter(checkpoint: Path, path: Path, *, seed: int = 0, **config: Any) -> Path:
    """Save a random adapter of a checkpoint, which changes the logits by about as much as they are.

    `config` is PEFT's LoraConfig, over rank 4 on all linear modules.
    """
    torch.manual_seed(seed)
    options = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **config}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(load_reference(checkpoint), peft.LoraConfig(**options))
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_A" in name or "lora_B" in name or "lora_embedding" in name:
                    parameter.normal_(0, 0.2)
                elif "magnitude" in name:
                    parameter.mul_(torch.rand_like(parameter) + 0.5)
                elif parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        adapted.save_pretrained(path)
    return path


def reference_logits(checkpoint: Path, adapter: Path | None, token_ids: Sequence[int]) -> NDArray[np.float32]:
    """Return the logits of transformers' model, with an adapter of PEFT if one is given: [positions, vocab_size]."""
    model: Any = load_reference(checkpoint)
    if adapter is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = peft.PeftModel.from_pretrained(model, adapter).eval()
    with torch.no_grad():
        logits: NDArray[np.float32] = model(torch.tensor([list(token_ids)])).logits[0].numpy()
        return logits
