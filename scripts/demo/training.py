"""Trains the demo model: a small Llama, from scratch, on conversations from the corpus."""

import math
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from .conversations import Batch, ConversationMaker
from .initialization import semantic_embeddings


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Shape of the model and of the run."""

    vocab_size: int = 1536
    hidden_size: int = 256
    num_layers: int = 3
    num_heads: int = 4
    num_key_value_heads: int = 2
    intermediate_size: int = 640
    max_positions: int = 2048
    steps: int = 2500
    batch_tokens: int = 2048
    learning_rate: float = 1.5e-3
    warmup_steps: int = 100
    weight_decay: float = 0.05
    dropout: float = 0.05
    word_dropout: float = 0.03
    intent_weight: float = 1.0
    seed: int = 1


class Trainee(nn.Module):
    """The model with what only training needs: dropout and an auxiliary intent classifier."""

    def __init__(self, model: LlamaForCausalLM, *, num_intents: int, settings: TrainingSettings) -> None:
        super().__init__()
        self.model = model
        self.classifier = nn.Linear(settings.hidden_size, num_intents)
        self._settings = settings
        for layer in model.model.layers:
            layer.self_attn.o_proj.register_forward_hook(self._drop)
            layer.mlp.down_proj.register_forward_hook(self._drop)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the weighted next-token loss plus the intent loss at each turn's last prompt position."""
        embeddings = self.model.model.embed_tokens(batch.input_ids)
        if self._settings.word_dropout:
            dropped = (torch.rand(batch.input_ids.shape) < self._settings.word_dropout) & batch.is_question
            embeddings = embeddings.masked_fill(dropped[..., None], 0.0)
        embeddings = functional.dropout(embeddings, self._settings.dropout, self.training)
        hidden = self.model.model(inputs_embeds=embeddings, use_cache=False).last_hidden_state
        weights = batch.weights[:, 1:]
        counted = weights > 0
        logits = self.model.lm_head(hidden[:, :-1][counted])
        losses = functional.cross_entropy(logits.float(), batch.input_ids[:, 1:][counted], reduction="none")
        loss = (losses * weights[counted]).sum() / weights.sum()
        return loss + self._settings.intent_weight * self._intent_loss(hidden, batch)

    def _intent_loss(self, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
        guesses = self.classifier(hidden[batch.decision_rows, batch.decision_columns])
        return functional.cross_entropy(guesses.float(), batch.intents, label_smoothing=0.1)

    def _drop(self, _module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return functional.dropout(output, self._settings.dropout, self.training)


def build_model(settings: TrainingSettings, *, eos_id: int, pad_id: int) -> LlamaForCausalLM:
    """Return an untrained Llama with tied embeddings."""
    config = LlamaConfig(
        vocab_size=settings.vocab_size,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads,
        num_key_value_heads=settings.num_key_value_heads,
        intermediate_size=settings.intermediate_size,
        max_position_embeddings=settings.max_positions,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        initializer_range=0.04,
        bos_token_id=None,
        eos_token_id=eos_id,
        pad_token_id=pad_id,
    )
    return LlamaForCausalLM(config)


def train(
    maker: ConversationMaker, model: LlamaForCausalLM, *, num_intents: int, settings: TrainingSettings
) -> float:
    """Train `model` in place and return the seconds that it took."""
    with torch.no_grad():
        embedding = model.model.embed_tokens.weight
        start = semantic_embeddings(
            maker,
            random.Random(settings.seed),
            vocab_size=embedding.shape[0],
            hidden_size=embedding.shape[1],
            std=model.config.initializer_range,
        )
        embedding.copy_(start)
    trainee = Trainee(model, num_intents=num_intents, settings=settings)
    trainee.train()
    optimizers = _optimizers(trainee, settings)
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda step: _rate(step, settings)) for o in optimizers]
    batches = maker.batches(random.Random(settings.seed), batch_tokens=settings.batch_tokens)
    start = time.monotonic()
    average = 0.0
    for step in range(settings.steps):
        loss = _step(trainee, batches, optimizers)
        for schedule in schedules:
            schedule.step()
        average = loss if step == 0 else 0.98 * average + 0.02 * loss
        if step % 100 == 99:
            seconds = time.monotonic() - start
            print(
                f"step {step + 1}/{settings.steps}  loss {average:.3f}  {seconds:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    model.eval()
    return time.monotonic() - start


def _step(trainee: Trainee, batches: Iterator[Batch], optimizers: list[torch.optim.Optimizer]) -> float:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = trainee.loss(next(batches))
    trainee.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    return loss.item()


def _optimizers(trainee: Trainee, settings: TrainingSettings) -> list[torch.optim.Optimizer]:
    """Return Muon for the layers' matrices and AdamW for the embedding, the norms and the classifier."""
    matrices = [p for p in trainee.model.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in trainee.parameters() if id(p) not in chosen]
    muon = torch.optim.Muon(
        matrices,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return [
        muon,
        torch.optim.AdamW(others, lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


def _rate(step: int, settings: TrainingSettings) -> float:
    warmup = min(1.0, (step + 1) / settings.warmup_steps)
    progress = step / settings.steps
    return warmup * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
