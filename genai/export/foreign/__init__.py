"""Exports by other exporters, for decoders that the native one has no family for.

```
checkpoint ─► exporter_program.py, in a process of its own ─► raw graph, checked against PyTorch
           ─► canonical names ─► passes ─► quantized, if asked ─► the same writer as every export
```
"""

from __future__ import annotations

from genai.export.foreign.chain import VIAS, ForeignOptions, check_via, draft_with_others, why_no_exporter
from genai.export.foreign.optimum_environment import OptimumEnvironment

__all__ = [
    "VIAS",
    "ForeignOptions",
    "OptimumEnvironment",
    "check_via",
    "draft_with_others",
    "why_no_exporter",
]
