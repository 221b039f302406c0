"""Random low-rank adapters of PEFT beside the checkpoints of `tests.checkpoints`, and what PEFT computes with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
from numpy.typing import NDArray

from tests.checkpoints import load_reference


def make_adapter(checkpoint: Path, path: Path, *, seed: int = 0, **config: Any) -> Path:
    """Save a random adapter of a checkpoint; `config` is PEFT's LoraConfig.

    Both matrices are random, so that it changes the logits by about as much as they are.
    """
    torch.manual_seed(seed)
    model = load_reference(checkpoint)
    options = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **config}
    adapted = peft.get_peft_model(model, peft.LoraConfig(**options))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_A" in name or "lora_B" in name or "lora_embedding" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.2)
            elif "magnitude" in name:
                parameter.mul_(torch.rand_like(parameter) + 0.5)
            elif parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    adapted.save_pretrained(path)
    return path


def peft_logits(checkpoint: Path, adapter: Path | None, tokens: Sequence[int]) -> NDArray[np.float32]:
    """Return the logits of PyTorch's model, with an adapter of PEFT if one is given: [positions, vocab_size]."""
    model = load_reference(checkpoint)
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        return model.eval()(torch.tensor([list(tokens)])).logits[0].float().numpy()
