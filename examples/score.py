"""How likely the model finds a text: log-probability and perplexity: `python examples/score.py [MODEL] [TEXT]`."""

import math
import sys

import numpy as np

from genai import Generator

TEXT = "A KV cache keeps the keys and values of earlier tokens."

with Generator(sys.argv[1] if len(sys.argv) > 1 else "demo") as generator:
    text = sys.argv[2] if len(sys.argv) > 2 else TEXT
    token_ids = generator.tokenizer.encode(text)
    logits = generator.logits(token_ids=token_ids)[:-1].astype(np.float64)
    log_probs = (
        logits
        - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
        - logits.max(1, keepdims=True)
    )
    total = log_probs[np.arange(len(logits)), token_ids[1:]].sum()
    print(f"{total:.2f} over {len(logits)} tokens, perplexity {math.exp(-total / len(logits)):.1f}")
