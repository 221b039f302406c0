"""Answer a question with onnxruntime-genai: `python run_onnxruntime_genai.py MODEL "What is a KV cache?"`."""

import json
import sys
from pathlib import Path

import onnxruntime_genai as og


def generate(folder: str | Path, input_ids: list[int], *, max_new_tokens: int) -> list[int]:
    """Return the most likely token at each step, up to the end of the answer."""
    model = og.Model(str(folder))
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(do_sample=False, max_length=len(input_ids) + max_new_tokens)
    generator = og.Generator(model, parameters)
    generator.append_tokens(input_ids)
    generated: list[int] = []
    while not generator.is_done():
        generator.generate_next_token()
        generated.append(int(generator.get_next_tokens()[0]))
    return generated  # ends with the token that ended the answer, if one did


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f'usage: python {sys.argv[0]} MODEL "What is a KV cache?"')
    path, question = sys.argv[1:]
    if not (Path(path) / "genai_config.json").is_file():
        sys.exit(f"{path} has no genai_config.json: give a model folder")
    tokenizer = og.Tokenizer(og.Model(path))
    messages = json.dumps([{"role": "user", "content": question}])
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    print(tokenizer.decode(generate(path, tokenizer.encode(prompt), max_new_tokens=128)))
