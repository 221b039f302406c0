"""The only decoding loop: requests in, pieces of text and results out."""

from genai.engine.background import BackgroundDriver
from genai.engine.engine import Engine
from genai.engine.pool import EnginePool
from genai.engine.request import Request, RequestTokenizer
from genai.engine.results import Choice, FinishReason, GenerationResult, GenerationStats, Piece, TokenLogprob
from genai.engine.speculation import Speculation
from genai.engine.stream import AsyncGenerationStream, GenerationStream
from genai.engine.times import RequestTimes
from genai.engine.workload import Workload

__all__ = [
    "AsyncGenerationStream",
    "BackgroundDriver",
    "Choice",
    "Engine",
    "EnginePool",
    "FinishReason",
    "GenerationResult",
    "GenerationStats",
    "GenerationStream",
    "Piece",
    "Request",
    "RequestTimes",
    "RequestTokenizer",
    "Speculation",
    "TokenLogprob",
    "Workload",
]
