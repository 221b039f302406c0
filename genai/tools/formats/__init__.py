"""The formats of tool calls, one file each; a model's is found by texts that stand in its chat template."""

from __future__ import annotations

from genai.tools.format import ToolFormat
from genai.tools.formats.command import COMMAND
from genai.tools.formats.deepseek import DEEPSEEK_V3, DEEPSEEK_V31
from genai.tools.formats.functionary import FUNCTIONARY
from genai.tools.formats.gemma import FUNCTION_GEMMA, GEMMA_4
from genai.tools.formats.generic import GENERIC
from genai.tools.formats.glm import GLM
from genai.tools.formats.granite import GRANITE
from genai.tools.formats.harmony import HARMONY
from genai.tools.formats.hermes import HERMES
from genai.tools.formats.kimi import KIMI
from genai.tools.formats.llama3 import LLAMA3
from genai.tools.formats.minimax import MINIMAX
from genai.tools.formats.mistral import MISTRAL, MISTRAL_NAMED
from genai.tools.formats.phi4 import PHI4
from genai.tools.formats.pythonic import LFM2, PYTHONIC
from genai.tools.formats.qwen3_coder import QWEN3_CODER

__all__ = ["FORMATS", "GENERIC", "find_format"]

FORMATS = (  # whichever is found by more stands before one that is found by less
    HARMONY,
    DEEPSEEK_V3,
    DEEPSEEK_V31,
    KIMI,
    MINIMAX,
    GLM,
    QWEN3_CODER,
    FUNCTIONARY,
    COMMAND,
    GRANITE,
    GEMMA_4,
    FUNCTION_GEMMA,
    PHI4,
    MISTRAL_NAMED,
    MISTRAL,
    PYTHONIC,
    LFM2,
    HERMES,
    LLAMA3,
    GENERIC,
)


def find_format(template: str) -> ToolFormat | None:
    """Return the format that a chat template shows; `None` where it shows none.

    >>> find_format("{{ '[TOOL_CALLS]' }}").name
    'mistral'
    """
    for known in FORMATS:
        if any(all(text in template for text in texts) for texts in known.found_by):
            return known
    return None
