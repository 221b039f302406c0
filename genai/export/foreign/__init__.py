"""Exports by transformers' own exporter, for decoders that the native one has no family for.

```
checkpoint ─► exporter_program.py, in a process of its own ─► raw graph, checked against PyTorch
           ─► canonical names ─► passes ─► quantized, if asked ─► the same writer as every export
```
"""

from __future__ import annotations

from genai.export.foreign.foreign_export import check_foreign, draft_foreign

__all__ = ["check_foreign", "draft_foreign"]
