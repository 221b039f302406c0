"""Answer a question with nothing but ONNX Runtime: `python plain_onnxruntime.py MODEL "What is a KV cache?"`."""

import json
import sys
from pathlib import Path

import jinja2
import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int8)": np.int8}


def generate(folder: Path, input_ids: list[int], *, max_new_tokens: int) -> list[int]:
    """Return the most likely token at each step, up to the end of the answer."""
    config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]
    eos_token_ids = np.atleast_1d(config["eos_token_id"])
    ort.set_default_logger_severity(3)  # an input with a default is meant
    session = ort.InferenceSession(folder / config["decoder"]["filename"])
    outputs = [output.name for output in session.get_outputs()]
    past = {}  # keys, values and other states of one sequence: an axis that grows begins at 0
    for value in session.get_inputs():
        if value.name.startswith("past_key_values."):
            axes = [1 if axis == "batch_size" else axis for axis in value.shape]
            past[value.name] = np.zeros([a if isinstance(a, int) else 0 for a in axes], TYPES[value.type])
    generated: list[int] = []
    step = input_ids  # the whole prompt first, then one token at a time
    while len(generated) < max_new_tokens:
        length = len(input_ids) + len(generated)
        feeds = {"input_ids": np.array([step]), "attention_mask": np.ones((1, length), np.int64), **past}
        found = dict(zip(outputs, session.run(outputs, feeds), strict=True))
        token = int(found["logits"][0, -1].argmax())  # the head computes the last position's logits alone
        if token in eos_token_ids:
            break
        generated.append(token)
        step = [token]
        past = {name: found[name.replace("past_key_values", "present")] for name in past}
    return generated


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f'usage: python {sys.argv[0]} MODEL "What is a KV cache?"')
    model, question = Path(sys.argv[1]), sys.argv[2]
    for name in ("genai_config.json", "tokenizer.json", "chat_template.jinja"):
        if not (model / name).is_file():
            sys.exit(f"{model} has no {name}: give a model folder of a model that chats")
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    templates = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    template = templates.from_string((model / "chat_template.jinja").read_text(encoding="utf-8"))
    prompt = template.render(messages=[{"role": "user", "content": question}], add_generation_prompt=True)
    prompt_ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    print(tokenizer.decode(generate(model, prompt_ids, max_new_tokens=128)))
