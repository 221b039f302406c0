"""GGUF files, llama.cpp's format, read as checkpoints of transformers: config, tensors by its names, tokenizer files.

The specification is https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; what the files mean beyond it, llama.cpp's
converter and loader say.
"""
