"""What a server's models do right now, and what loading them took, as numbers for Prometheus, read when it asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from genai.server.served_model import ServedModel

__all__ = ["ModelMetrics"]

_GAUGES: Mapping[str, tuple[str, str]] = {
    "num_waiting": ("model_requests_waiting", "Requests that wait for a place in the KV cache."),
    "num_running": ("model_requests_running", "Requests that have one."),
    "cache_tokens": ("kv_cache_tokens", "Tokens that requests hold in the KV cache."),
    "idle_cache_tokens": ("kv_cache_idle_tokens", "Tokens that it keeps for prompts that begin alike."),
    "max_cache_tokens": ("kv_cache_max_tokens", "Tokens that it can hold."),
    "cache_bytes": ("kv_cache_bytes", "Bytes that it takes."),
}
"""By the field of a `Workload`: what it is called, and what it is."""


class ModelMetrics(Collector):
    """Reads what models do; only the server's own are labels, whatever clients ask for.

    Args:
        models: The models by name.
    """

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """Yield all numbers as they are now."""
        loaded = GaugeMetricFamily("genai_model_loaded", "Whether a model is in memory.", labels=["model"])
        loads = CounterMetricFamily("genai_model_loads", "How often a model was loaded.", labels=["model"])
        seconds = CounterMetricFamily(
            "genai_model_load_seconds", "How long that took in all.", labels=["model"]
        )
        for name, model in self._models.items():
            loaded.add_metric([name], model.generator is not None)
            loads.add_metric([name], model.num_loads)
            seconds.add_metric([name], model.load_seconds)
        yield from (loaded, loads, seconds)
        workloads = {name: found for name, model in self._models.items() if (found := model.workload())}
        for field, (metric, text) in _GAUGES.items():
            gauge = GaugeMetricFamily(f"genai_{metric}", text, labels=["model"])
            for name, workload in workloads.items():
                gauge.add_metric([name], getattr(workload, field))
            yield gauge
        preemptions = CounterMetricFamily(
            "genai_preemptions",
            "How often a request gave its place up.",
            labels=["model"],
        )
        for name, model in self._models.items():
            current = workloads[name].num_preemptions if name in workloads else 0
            preemptions.add_metric([name], model.past_preemptions + current)
        yield preemptions
