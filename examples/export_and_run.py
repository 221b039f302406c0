"""Export a checkpoint and generate from it: `python examples/export_and_run.py CHECKPOINT OUTPUT`."""

import sys

from genai import Generator, export_model

checkpoint, output = sys.argv[1:3]
folder = export_model(
    checkpoint,
    output,
    precision="int4",
    progress=lambda p: print(f"\r{p.num_tensors_done}/{p.num_tensors}", end=""),
)
print(f"\n{folder.path}: {folder.decoder.num_layers} layers, context {folder.decoder.context_length}")
with Generator(output) as generator:
    print(generator.generate("Once upon a time", max_new_tokens=20).text)
