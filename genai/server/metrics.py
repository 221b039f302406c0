"""What a server counts, in the text format of Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from genai.engine import GenerationResult

__all__ = ["Metrics", "TokenClock"]

_QUEUE_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 20, 60)
_FIRST_TOKEN_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)
_TOKEN_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)


class _Registry(CollectorRegistry):
    """Collectors, without the times at which each of their series began: as many lines again, which nobody asks for."""

    def collect(self) -> Iterator[Metric]:
        for family in super().collect():
            family.samples = [each for each in family.samples if not each.name.endswith("_created")]
            yield family


class Metrics:
    """Counters of one server; to be changed from its event loop."""

    def __init__(self) -> None:
        self._registry = _Registry()
        ProcessCollector(registry=self._registry)  # memory, time and files of this process, on Linux
        self._requests = Counter(
            "genai_requests", "Requests answered.", ["path", "status"], registry=self._registry
        )
        self.running = Gauge(
            "genai_requests_running", "Requests that run or wait for their turn.", registry=self._registry
        )
        self._prompt_tokens = self._tokens("prompt_tokens", "Tokens of prompts.")
        self._cached_tokens = self._tokens("cached_prompt_tokens", "Tokens of prompts that were cached.")
        self._generated_tokens = self._tokens("generated_tokens", "Tokens generated.")
        self._drafted_tokens = self._tokens("drafted_tokens", "Tokens guessed ahead.")
        self._accepted_tokens = self._tokens("accepted_tokens", "Guessed tokens that were right.")
        self._queue = Histogram(
            "genai_queue_seconds",
            "From a request to its place in the KV cache.",
            ["model"],
            buckets=_QUEUE_SECONDS,
            registry=self._registry,
        )
        self._first_token = Histogram(
            "genai_time_to_first_token_seconds",
            "From a request to its first token, waiting included.",
            ["model"],
            buckets=_FIRST_TOKEN_SECONDS,
            registry=self._registry,
        )
        self._between_tokens = Histogram(
            "genai_inter_token_seconds",
            "Between two pieces of a streamed answer.",
            ["model"],
            buckets=_TOKEN_SECONDS,
            registry=self._registry,
        )

    def watch(self, collector: Collector) -> None:
        """Tell what somebody else counts, too."""
        self._registry.register(collector)

    def count(self, path: str, status: int) -> None:
        """Count a request that was answered."""
        self._requests.labels(path, str(status)).inc()

    def add(self, model: str, results: Sequence[GenerationResult], *, num_streamed: int = 0) -> None:
        """Count what generations took.

        Args:
            model: Whose they are.
            results: Those that have ended.
            num_streamed: Tokens that came in pieces; what is more than the results' is of answers that were cut.
        """
        num_cut = num_streamed - sum(result.stats.generated_tokens for result in results)
        self._generated_tokens.labels(model).inc(max(num_cut, 0))
        for result in results:
            self._prompt_tokens.labels(model).inc(result.stats.prompt_tokens)
            self._cached_tokens.labels(model).inc(result.stats.cached_prompt_tokens)
            self._generated_tokens.labels(model).inc(result.stats.generated_tokens)
            self._drafted_tokens.labels(model).inc(result.stats.drafted_tokens)
            self._accepted_tokens.labels(model).inc(result.stats.accepted_tokens)
            self._queue.labels(model).observe(result.stats.queue_seconds)
            if result.stats.generated_tokens:
                self._first_token.labels(model).observe(result.stats.time_to_first_token_seconds)

    def clock(self, model: str) -> TokenClock:
        """Return what watches one stream."""
        return TokenClock(self._between_tokens.labels(model))

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        return generate_latest(self._registry)

    def _tokens(self, name: str, text: str) -> Counter:
        return Counter(f"genai_{name}", text, ["model"], registry=self._registry)


class TokenClock:
    """Measures the time between the pieces of one stream, and counts its tokens.

    Args:
        histogram: Where the times go.
    """

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._last: float | None = None
        self.num_tokens = 0

    def tick(self, num_tokens: int) -> None:
        """Note that a piece came, of so many tokens."""
        now = time.monotonic()
        self.num_tokens += num_tokens
        if self._last is not None:
            self._histogram.observe(now - self._last)
        self._last = now
