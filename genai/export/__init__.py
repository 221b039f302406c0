"""Native export: a Hugging Face checkpoint becomes a model folder, without torch, transformers or ONNX Runtime.

```
checkpoint ─► family: config.json -> DecoderSpec ─► build_decoder: GraphBuilder + ops/ ─► writer ─► model folder
                       weight names -> Weights ──────────────┘ lazily, row by row
```
"""

from __future__ import annotations

from genai.export.exporter import check_exportable, export_model
from genai.export.precision import PRECISIONS
from genai.export.writer import ExportProgress
from genai.quantize import BlockScheme

__all__ = ["PRECISIONS", "BlockScheme", "ExportProgress", "check_exportable", "export_model"]
