"""How models mark what they think before they answer; found by texts that stand in the chat template."""

from __future__ import annotations

from genai.tools.format import ReasoningFormat

__all__ = ["REASONINGS", "find_reasoning", "has_reasoned", "opens_reasoning"]

REASONINGS = (
    ReasoningFormat(
        ("<|channel|>", "<|message|>"),
        "<|channel|>analysis<|message|>",
        "<|end|>",
        then="<|start|>assistant",
        answer_begins=("<|channel|>final<|message|>", "<|channel|>final <|constrain|>json<|message|>"),
    ),  # gpt-oss
    ReasoningFormat(("<|channel>thought",), "<|channel>thought", "<channel|>"),  # Gemma 4
    ReasoningFormat(("[THINK]",), "[THINK]", "[/THINK]"),  # Magistral
    ReasoningFormat(
        ("<|START_THINKING|>",),
        "<|START_THINKING|>",
        "<|END_THINKING|>",
        answer_begins=("<|START_RESPONSE|>",),
        answer_end="<|END_RESPONSE|>",
    ),  # Command
    ReasoningFormat(("<seed:think>",), "<seed:think>", "</seed:think>"),  # Seed-OSS
    ReasoningFormat(
        ("Here is my thought process:",), "Here is my thought process:", "Here is my response:"
    ),  # Granite 3.2
    ReasoningFormat(
        ("</think>", "<response>"),
        "<think>",
        "</think>",
        answer_begins=("<response>",),
        answer_end="</response>",
    ),  # Granite 3.3
    ReasoningFormat(
        ("</think>", "<answer>"),
        "<think>",
        "</think>",
        answer_begins=("<answer>",),
        answer_end="</answer>",
    ),  # Hunyuan
    ReasoningFormat(("◁think▷",), "◁think▷", "◁/think▷"),  # Kimi-VL
    ReasoningFormat(("<thought>",), "<thought>", "</thought>"),  # EXAONE Deep
    ReasoningFormat(("</think>",), "<think>", "</think>"),  # DeepSeek R1, Qwen 3, GLM 4.5, SmolLM3, ...
)


def find_reasoning(template: str) -> ReasoningFormat | None:
    """Return how the models of a chat template mark reasoning; `None` where it shows nothing of it.

    >>> find_reasoning("{{ content.split('</think>')[-1] }}").begin
    '<think>'
    """
    for known in REASONINGS:
        if all(text in template for text in known.found_by):
            return known
    return None


def opens_reasoning(reasoning: ReasoningFormat, prompt: str, *, last_message: str = "") -> bool:
    r"""Whether a prompt begins the reasoning, as some templates do, or the answer that goes on in it has.

    Args:
        reasoning: How it is marked.
        prompt: The prompt.
        last_message: What the prompt has of the answer already, where it goes on with one.

    >>> opens_reasoning(find_reasoning("</think>"), "<|im_start|>assistant\n<think>\n")
    True
    """
    begun = last_message.rfind(reasoning.begin)
    return (begun >= 0 and reasoning.end not in last_message[begun:]) or prompt.rstrip().endswith(
        reasoning.begin
    )


def has_reasoned(reasoning: ReasoningFormat, prompt: str, *, last_message: str = "") -> bool:
    r"""Whether there is nothing to reason about any more: a prompt has the reasoning, or more of an answer, already.

    >>> has_reasoned(find_reasoning("</think>"), "<|im_start|>assistant\n<think>\n\n</think>\n\n")
    True
    """
    if opens_reasoning(reasoning, prompt, last_message=last_message):
        return False
    return bool(last_message.strip()) or prompt.rstrip().endswith(reasoning.end)
