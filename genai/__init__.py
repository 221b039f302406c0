"""Generate text from Hugging Face decoders on ONNX Runtime: `Generator(model).generate(prompt)`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from genai._version import __version__
from genai.config import CutCall, GenerationConfig, GenerationOptions, Message, ResponseFormat, ToolCall
from genai.errors import (
    CacheFileError,
    ChatTemplateError,
    CheckpointError,
    ExportError,
    GenaiError,
    GenerationError,
    ModelFolderError,
    ModelNotFoundError,
    OptionError,
    ProviderError,
    TokenizerError,
    UnsupportedModelError,
)

if TYPE_CHECKING:
    from genai.chat_stream import AsyncChatStream, ChatStream
    from genai.engine import (
        AsyncGenerationStream,
        GenerationResult,
        GenerationStats,
        GenerationStream,
        Piece,
        Request,
        Workload,
    )
    from genai.export import export_model
    from genai.folder import ModelFolder
    from genai.generator import Generator
    from genai.reranking import RankedDocument
    from genai.scoring import TokenScores
    from genai.tools import Tool, ToolCallDelta, tool

__all__ = [
    "AsyncChatStream",
    "AsyncGenerationStream",
    "CacheFileError",
    "ChatStream",
    "ChatTemplateError",
    "CheckpointError",
    "CutCall",
    "ExportError",
    "GenaiError",
    "GenerationConfig",
    "GenerationError",
    "GenerationOptions",
    "GenerationResult",
    "GenerationStats",
    "GenerationStream",
    "Generator",
    "Message",
    "ModelFolder",
    "ModelFolderError",
    "ModelNotFoundError",
    "OptionError",
    "Piece",
    "ProviderError",
    "RankedDocument",
    "Request",
    "ResponseFormat",
    "TokenScores",
    "TokenizerError",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "UnsupportedModelError",
    "Workload",
    "__version__",
    "export_model",
    "tool",
]

# These need ONNX Runtime (or the export stack); they load on first use, so that `import genai` is quick and
# exporting works where no ONNX Runtime is installed.
_LAZY = {
    "AsyncChatStream": "genai.chat_stream",
    "AsyncGenerationStream": "genai.engine",
    "ChatStream": "genai.chat_stream",
    "Generator": "genai.generator",
    "GenerationResult": "genai.engine",
    "GenerationStats": "genai.engine",
    "GenerationStream": "genai.engine",
    "ModelFolder": "genai.folder",
    "Piece": "genai.engine",
    "RankedDocument": "genai.reranking",
    "Request": "genai.engine",
    "TokenScores": "genai.scoring",
    "Tool": "genai.tools",
    "ToolCallDelta": "genai.tools",
    "Workload": "genai.engine",
    "export_model": "genai.export",
    "tool": "genai.tools",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'genai' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
