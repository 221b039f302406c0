"""Counters of several processes as one page: the front's own, and its replicas', each with the replica's name as a label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["merged_metrics"]

_OF_A_PROCESS = "process_"


def merged_metrics(own: bytes, replicas: Mapping[str, str]) -> bytes:
    """Return one page in the text format of Prometheus.

    What the front counts itself, the replicas count once more; of that theirs is left out, but for what is said of a process.

    Args:
        own: The front's page.
        replicas: The pages of the replicas, by their names.
    """
    merged = {family.name: family for family in _families(own.decode())}
    counted = frozenset(merged)
    for replica, page in sorted(replicas.items()):
        for family in _families(page):
            if family.name in counted and not family.name.startswith(_OF_A_PROCESS):
                continue
            target = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                target.add_sample(sample.name, {**sample.labels, "replica": replica}, sample.value)
    return generate_latest(_Page(merged.values()))


def _families(page: str) -> list[Metric]:
    """Return the families that have a sample; of others a page has the names alone."""
    return [family for family in text_string_to_metric_families(page) if family.samples]


class _Page(CollectorRegistry):
    """Families that are there already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        super().__init__()
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._families
