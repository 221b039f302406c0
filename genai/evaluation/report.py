"""What a validation found: one check per row, each ok, failed or skipped, with the figures that it judged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["Check", "Report", "Status", "failed", "passed", "skipped"]

Status = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """One question about a folder, and its answer.

    Args:
        name: What was checked, in one word for programs and tables.
        status: "ok", "failed", or "skipped" where the question does not apply or cannot be asked here.
        detail: The answer in words: what was found, or what is wrong and what to do.
        figures: The numbers behind it.
    """

    name: str
    status: Status
    detail: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the check as JSON has it; numbers that JSON does not know become null."""
        figures = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in self.figures.items()
        }
        return {"name": self.name, "status": self.status, "detail": self.detail, "figures": figures}


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one folder.

    Args:
        path: The folder.
        checks: The checks, in the order in which they were made.
        precision: What the folder was judged as: "fp32", "fp16", "bf16", "int8" or "int4"; None if it is unknown.
        provider: The execution provider that ran it; None if nothing ran.
        against: Source and revision of the checkpoint that it was compared with; None if it was not.
        versions: Versions of the packages that did the work.
        date: Date and time in ISO 8601, UTC.
    """

    path: Path
    checks: tuple[Check, ...]
    precision: str | None
    provider: str | None
    against: Mapping[str, str | None] | None
    versions: Mapping[str, str]
    date: str

    @property
    def is_ok(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status == "failed")

    def count(self, status: Status) -> int:
        """Return how many checks ended so."""
        return sum(check.status == status for check in self.checks)

    def summary(self) -> str:
        """Return the outcome in one line: how many checks passed, and what failed with its reason."""
        skips = f", {self.count('skipped')} skipped" if self.count("skipped") else ""
        if self.is_ok:
            return f"{self.count('ok')} checks passed{skips}"
        reasons = "; ".join(f"{check.name}: {check.detail}" for check in self.failures)
        return f"{len(self.failures)} of {len(self.checks)} checks failed{skips}: {reasons}"

    def to_json(self) -> dict[str, Any]:
        """Return the report as manifest.json keeps it: everything but the path, which may change."""
        return {
            "passed": self.is_ok,
            "date": self.date,
            "precision": self.precision,
            "provider": self.provider,
            "against": dict(self.against) if self.against is not None else None,
            "versions": dict(self.versions),
            "checks": [check.to_json() for check in self.checks],
        }


def passed(name: str, detail: str = "", **figures: Any) -> Check:
    """Return a check that found nothing wrong."""
    return Check(name, "ok", detail, figures)


def failed(name: str, problems: str | Sequence[str], **figures: Any) -> Check:
    """Return a check that found something wrong; of several problems, the first three are named."""
    found = [problems] if isinstance(problems, str) else list(problems)
    rest = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return Check(name, "failed", " ".join(("; ".join(found[:3]) + rest).split()), figures)


def skipped(name: str, reason: str) -> Check:
    """Return a check that could not be made, or does not apply."""
    return Check(name, "skipped", " ".join(reason.split()))
