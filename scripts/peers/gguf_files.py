"""GGUF files of llama-like models: taken off their grid, made of a checkpoint, and made a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np

from genai.export.checkpoint.gguf.checkpoint import GgufCheckpoint
from genai.export.checkpoint.gguf.reader import read_gguf
from genai.export.checkpoint.gguf.text_files import text_files

__all__ = ["break_grid", "checkpoint_of_gguf", "gguf_of_checkpoint", "tokenize"]

SPREAD = 0.35
"""Factors are exp(u), u uniform in [-SPREAD, SPREAD]."""


def break_grid(source: Path, target: Path) -> None:
    """Write a GGUF file of float32 that computes what the source does, from weights on no grid."""
    reader = gguf.GGUFReader(source)
    tensors = {
        t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors
    }
    fields = reader.fields
    arch = str(fields["general.architecture"].contents())
    heads, kv_heads = (
        int(fields[f"{arch}.attention.{key}"].contents()) for key in ("head_count", "head_count_kv")
    )
    rescale(tensors, np.random.default_rng(0), group=heads // kv_heads, kv_heads=kv_heads)
    writer = gguf.GGUFWriter(target, arch)
    for field in fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        kind, inner = field.types[0], field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def rescale(tensors: dict[str, np.ndarray], rng: np.random.Generator, *, group: int, kv_heads: int) -> None:
    """Rescale channels in place, so that the function stays; norms are stored as what they multiply by."""

    def factors(count: int) -> np.ndarray:
        return np.exp(rng.uniform(-SPREAD, SPREAD, count)).astype(np.float32)

    for layer in range(sum(name.endswith(".attn_norm.weight") for name in tensors)):
        names = {n.split(".")[2]: n for n in tensors if n.startswith(f"blk.{layer}.")}
        part = {short: tensors[name] for short, name in names.items()}
        for norm, readers in (
            ("attn_norm", ("attn_q", "attn_k", "attn_v")),
            ("ffn_norm", ("ffn_gate", "ffn_up")),
        ):
            scale = factors(part[norm].size)
            part[norm] *= scale
            for reader in readers:
                part[reader] /= scale
        scale = factors(len(part["ffn_up"]))
        part["ffn_up"] *= scale[:, None]
        part["ffn_down"] /= scale
        scale = factors(len(part["attn_v"]))
        part["attn_v"] *= scale[:, None]
        part["attn_output"] /= np.repeat(scale.reshape(kv_heads, -1), group, axis=0).reshape(-1)


def checkpoint_of_gguf(source: Path, target: Path) -> None:
    """Write a GGUF file of floats as a checkpoint, with its tokenizer, into a folder that exists."""
    import transformers
    from safetensors.numpy import save_file

    opened = GgufCheckpoint.open(source)
    tensors = {name: np.ascontiguousarray(opened[name][:], np.float32) for name in opened.keys()}  # noqa: SIM118
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    model_class = getattr(transformers, opened.config["architectures"][0])
    config = {"model_type": model_class.config_class.model_type, "dtype": "float32", **opened.config}
    (target / "config.json").write_text(json.dumps(config, indent=2), "utf-8")
    for name, content in text_files(read_gguf(source).metadata).items():
        (target / name).write_text(content, "utf-8")


def gguf_of_checkpoint(source: Path, target: Path) -> None:
    """Write a checkpoint of model type llama or qwen2 as a GGUF file of float16, with tokens to write but none to read."""
    from safetensors import safe_open

    config = json.loads((source / "config.json").read_text("utf-8"))
    architecture = config["model_type"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(target, architecture)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_vocab_size(config["vocab_size"])
    add_vocabulary(writer, config["vocab_size"], bos=config["bos_token_id"], eos=config["eos_token_id"])
    kind = next(each for each, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(kind, config["num_hidden_layers"])
    for path in sorted(source.glob("*.safetensors")):
        with safe_open(path, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  # it is no mapping
                array = tensors.get_tensor(name).float().numpy()
                if architecture == "llama" and ("q_proj" in name or "k_proj" in name):
                    array = _interleaved(array, heads if "q_proj" in name else kv_heads)
                stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
                assert stored is not None, name
                writer.add_tensor(stored, array if array.ndim == 1 else array.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_vocabulary(writer: gguf.GGUFWriter, count: int, *, bos: int, eos: int) -> None:
    """Name a random model's tokens t0, t1, …, so that a server can write them; prompts are given as tokens."""
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"t{index}" for index in range(count)])
    writer.add_token_scores([0.0] * count)
    writer.add_token_types([control if index in (bos, eos) else normal for index in range(count)])
    writer.add_bos_token_id(bos)
    writer.add_eos_token_id(eos)


def tokenize(source: Path, texts: list[str]) -> list[list[int]]:
    """Return the token ids of texts, by the tokenizer of a GGUF file."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(text_files(read_gguf(source).metadata)["tokenizer.json"])
    return [tokenizer.encode(text).ids for text in texts]


def _interleaved(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Return the rows of a query or key matrix as llama.cpp rotates them: the halves of a head in turns."""
    return matrix.reshape(heads, 2, -1, matrix.shape[-1]).swapaxes(1, 2).reshape(matrix.shape)
