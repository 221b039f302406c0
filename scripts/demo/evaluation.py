"""Scores answers on questions: greedy text equal to the intent's answer, or not.

Knows nothing of training; `score_answers` takes answers from anywhere, the exported model included.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from .corpus import Intent, Question

Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Failure:
    """A question that got another text than its intent's answer."""

    question: str
    intent: str
    given: str


@dataclass(frozen=True, slots=True)
class Score:
    """How many of the questions were answered exactly right."""

    num_questions: int
    failures: tuple[Failure, ...]

    @property
    def accuracy(self) -> float:
        """Share of exactly right answers."""
        return 1 - len(self.failures) / self.num_questions


def evaluate(
    answer: Callable[[str], str], questions: Sequence[Question], *, intents: Sequence[Intent]
) -> Score:
    """Ask `answer` every question and score what it says."""
    return score_answers([answer(question.text) for question in questions], questions, intents=intents)


def score_answers(
    answers: Sequence[str], questions: Sequence[Question], *, intents: Sequence[Intent]
) -> Score:
    """Compare answers with those of the questions' intents; a failure names the intent that was answered instead."""
    expected = {intent.name: intent.answer for intent in intents}
    names = {intent.answer: intent.name for intent in intents}
    failures = tuple(
        Failure(question.text, question.intent, names.get(given.strip(), given))
        for question, given in zip(questions, answers, strict=True)
        if given.strip() != expected[question.intent]
    )
    return Score(len(questions), failures)


def answer_all(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Messages],
    *,
    max_new_tokens: int = 96,
) -> list[str]:
    """Return the greedy replies to `conversations`; those of equal length run together, so nothing is padded."""
    prompts = [_prompt_ids(tokenizer, messages) for messages in conversations]
    by_length: dict[int, list[int]] = defaultdict(list)
    for i, ids in enumerate(prompts):
        by_length[len(ids)].append(i)
    answers = [""] * len(prompts)
    for indices in by_length.values():
        replies = _decode_greedily(
            model, torch.tensor([prompts[i] for i in indices]), max_new_tokens=max_new_tokens
        )
        for i, ids in zip(indices, replies, strict=True):
            answers[i] = tokenizer.decode(ids, skip_special_tokens=True)
    return answers


def single_turns(questions: Sequence[Question]) -> list[Messages]:
    """Return each question as a conversation of its own."""
    return [[{"role": "user", "content": question.text}] for question in questions]


def later_turns(questions: Sequence[Question], *, intents: Sequence[Intent]) -> list[Messages]:
    """Return each question as the third turn, after two other questions with their right answers."""
    expected = {intent.name: intent.answer for intent in intents}
    conversations = []
    for i, question in enumerate(questions):
        messages: Messages = []
        for offset in (101, 211):
            earlier = questions[(i + offset) % len(questions)]
            messages.append({"role": "user", "content": earlier.text})
            messages.append({"role": "assistant", "content": expected[earlier.intent]})
        conversations.append([*messages, {"role": "user", "content": question.text}])
    return conversations


def quantize_weights(model: LlamaForCausalLM, *, bits: int, block_size: int = 32) -> LlamaForCausalLM:
    """Return a copy whose matrices went through block-wise round-to-nearest quantization and back."""
    quantized = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in quantized.parameters():
            if parameter.ndim == 2:
                parameter.copy_(_round_to_nearest(parameter, bits=bits, block_size=block_size))
    return quantized


def _round_to_nearest(weight: torch.Tensor, *, bits: int, block_size: int) -> torch.Tensor:
    """Round blocks of a row to the integers [-2^(bits-1), 2^(bits-1)), the block's extreme value at the lower end."""
    limit = 2 ** (bits - 1)
    blocks = weight.reshape(-1, block_size)
    extreme = blocks.gather(1, blocks.abs().argmax(dim=1, keepdim=True))
    scale = torch.where(extreme == 0, torch.ones_like(extreme), extreme / -limit)
    return ((blocks / scale).round().clamp(-limit, limit - 1) * scale).reshape(weight.shape)


def _prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> list[int]:
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@torch.no_grad()
def _decode_greedily(
    model: LlamaForCausalLM, input_ids: torch.Tensor, *, max_new_tokens: int
) -> list[list[int]]:
    eos_id = model.config.eos_token_id
    finished = torch.zeros(len(input_ids), dtype=torch.bool)
    replies: list[list[int]] = [[] for _ in input_ids]
    cache = None
    for _ in range(max_new_tokens):
        output = model(input_ids=input_ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = output.past_key_values
        input_ids = output.logits[:, -1].argmax(dim=-1, keepdim=True)
        finished |= input_ids[:, 0] == eos_id
        if finished.all():
            break
        for reply, token, done in zip(replies, input_ids[:, 0].tolist(), finished.tolist(), strict=True):
            if not done:
                reply.append(token)
    return replies
