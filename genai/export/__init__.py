"""Export: a Hugging Face checkpoint becomes a model folder, natively without torch, transformers or ONNX Runtime.

```
config.json ─► plan: family -> DecoderSpec ─► build_decoder: GraphBuilder ─► writer ─► model folder
weights     ─► views by the family's names ─────────┘ lazily, row by row
```
A plan is made from config.json alone (`plan_export`), before any weights need be there, and then carried out.
What no family describes, `foreign` exports with transformers' own exporter, in a process of its own.
"""

from __future__ import annotations

from genai.config import PRECISIONS, VIAS, ExportSettings
from genai.export.exporter import Calibrated, carry_out, export_model, open_weights, with_stored_head
from genai.export.plan import ExportPlan, plan_export
from genai.export.write.graph_writer import ExportProgress
from genai.quantize import BlockScheme

__all__ = [
    "PRECISIONS",
    "VIAS",
    "BlockScheme",
    "Calibrated",
    "ExportPlan",
    "ExportProgress",
    "ExportSettings",
    "carry_out",
    "export_model",
    "open_weights",
    "plan_export",
    "with_stored_head",
]
