"""Export: a Hugging Face checkpoint becomes a model folder, natively without torch, transformers or ONNX Runtime.

```
checkpoint ─► family: config.json -> DecoderSpec ─► build_decoder: GraphBuilder + ops/ ─► writer ─► model folder
                       weight names -> Weights ──────────────┘ lazily, row by row
```
What no family describes, `foreign` exports with transformers' own exporter, in a process of its own.
"""

from __future__ import annotations

from genai.export.build.precision import PRECISIONS
from genai.export.exporter import check_exportable, export_model
from genai.export.via import VIAS, check_via
from genai.export.write.graph_writer import ExportProgress
from genai.quantize import BlockScheme

__all__ = [
    "PRECISIONS",
    "VIAS",
    "BlockScheme",
    "ExportProgress",
    "check_exportable",
    "check_via",
    "export_model",
]
