"""How models mark what they think before they answer; found by texts that stand in the chat template."""

from __future__ import annotations

from genai.tools.format import ReasoningFormat

__all__ = ["REASONINGS", "find_reasoning", "opens_reasoning"]

REASONINGS = (
    ReasoningFormat(
        ("<|channel|>", "<|message|>"),
        "<|channel|>analysis<|message|>",
        "<|end|>",
        then="<|start|>assistant",
    ),  # gpt-oss
    ReasoningFormat(("<|channel>thought",), "<|channel>thought", "<channel|>"),  # Gemma 4
    ReasoningFormat(("[THINK]",), "[THINK]", "[/THINK]"),  # Magistral
    ReasoningFormat(("<|START_THINKING|>",), "<|START_THINKING|>", "<|END_THINKING|>"),  # Command
    ReasoningFormat(("<seed:think>",), "<seed:think>", "</seed:think>"),  # Seed-OSS
    ReasoningFormat(
        ("Here is my thought process:",), "Here is my thought process:", "Here is my response:"
    ),  # Granite 3.2
    ReasoningFormat(
        ("</think>", "<response>"), "<think>", "</think>", silent=("<response>", "</response>")
    ),  # Granite 3.3
    ReasoningFormat(
        ("</think>", "<answer>"), "<think>", "</think>", silent=("<answer>", "</answer>")
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


def opens_reasoning(reasoning: ReasoningFormat, prompt: str) -> bool:
    r"""Whether a prompt ends by beginning the reasoning, as some templates do.

    >>> opens_reasoning(find_reasoning("</think>"), "<|im_start|>assistant\n<think>\n")
    True
    """
    return prompt.rstrip().endswith(reasoning.begin)
