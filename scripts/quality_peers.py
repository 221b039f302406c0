"""What other tools make of a file of floats, each in a Python of its own, and what it costs: for measure_quality.py.

Each program reads a job from stdin: the GGUF file of floats, a folder to work in, and the token ids of the texts. It
prints the bytes of the weights and the mean negative log-likelihood of each text, in one window.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PeerResult", "run_llama", "run_onnxruntime_genai", "run_openvino"]

LLAMA_TYPES = {"Q4_0": 2, "Q4_K_M": 15, "Q5_K_M": 17, "Q8_0": 7}

_MEAN_NLL = """
import json, os, sys
import numpy as np
job = json.load(sys.stdin)
def mean_nll(logits, ids):
    logits = np.asarray(logits[: len(ids) - 1], np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(-logits[np.arange(len(ids) - 1), ids[1:]].mean())
"""

_LLAMA = """
import ctypes
import llama_cpp
silent = llama_cpp.llama_log_callback(lambda *a: None)
llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
params = llama_cpp.llama_model_quantize_default_params()
params.ftype = job["ftype"]
assert llama_cpp.llama_model_quantize(job["source"].encode(), job["target"].encode(), ctypes.byref(params)) == 0
model = llama_cpp.Llama(job["target"], n_ctx=max(map(len, job["texts"])), logits_all=True, verbose=False, n_batch=512)
nlls = []
for ids in job["texts"]:
    model.reset(); model.eval(ids)
    nlls.append(mean_nll(model.scores, ids))
print(json.dumps([os.path.getsize(job["target"]), nlls]))
"""

_CHECKPOINT = """
import torch, transformers
folder, name = os.path.split(job["source"])
if not os.path.isdir(job["checkpoint"]):
    transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(job["checkpoint"])
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    model.save_pretrained(job["checkpoint"])
"""

_OPENVINO = """
import openvino, subprocess
if not os.path.isdir(job["target"]):
    export = [sys.executable, "-m", "optimum.commands.optimum_cli", "export", "openvino"]
    options = ["--task", "text-generation-with-past", "--weight-format", f"int{job['bits']}"]
    options += ["--group-size", str(job["group_size"])] if job["bits"] == 4 else []
    options = ["--model", job["checkpoint"], *options, job["target"]]
    subprocess.run([*export, *options], check=True, stdout=subprocess.DEVNULL)
options = {} if job["rounds"] else {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
model = openvino.Core().compile_model(job["target"] + "/openvino_model.xml", "CPU", options)
nlls = []
for ids in job["texts"]:
    request = model.create_infer_request()
    count = len(ids)
    feeds = {"input_ids": np.array([ids]), "attention_mask": np.ones((1, count), np.int64),
             "position_ids": np.arange(count)[None], "beam_idx": np.zeros(1, np.int32)}
    nlls.append(mean_nll(request.infer(feeds)["logits"][0], ids))
print(json.dumps([os.path.getsize(job["target"] + "/openvino_model.bin"), nlls]))
"""

_ONNXRUNTIME_GENAI = """
import subprocess
if not os.path.isdir(job["target"]):
    builder = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
    options = ["-i", job["checkpoint"], "-o", job["target"], "-p", "int4", "-e", "cpu", "-c", job["target"] + "-cache"]
    subprocess.run([*builder, *options], check=True, stdout=subprocess.DEVNULL)
print(json.dumps([0, []]))
"""


@dataclass(frozen=True, slots=True)
class PeerResult:
    """What a tool's form of a model takes and costs.

    Args:
        num_bytes: Of its weights.
        perplexities: One for each text.
    """

    num_bytes: int
    perplexities: Sequence[float]


def run_llama(python: str, source: Path, work: Path, texts: list[list[int]], *, name: str) -> PeerResult:
    """Quantize to one of `LLAMA_TYPES` and measure."""
    job = {"source": str(source), "target": str(work / f"{name}.gguf"), "ftype": LLAMA_TYPES[name]}
    return _run(python, _MEAN_NLL + _LLAMA, {**job, "texts": texts})


def run_openvino(
    python: str, source: Path, work: Path, texts: list[list[int]], *, bits: int, group_size: int, rounds: bool
) -> PeerResult:
    """Compress weights by optimum-intel and measure; `rounds` lets products round activations, as they do by default."""
    job = {**_checkpoint(source, work), "bits": bits, "group_size": group_size, "rounds": rounds}
    job["target"] = str(work / f"openvino-{bits}-{group_size}")
    return _run(python, _MEAN_NLL + _CHECKPOINT + _OPENVINO, {**job, "texts": texts})


def run_onnxruntime_genai(python: str, source: Path, work: Path) -> Path:
    """Build an int4 folder by onnxruntime-genai's builder with its defaults, and return it."""
    target = work / "onnxruntime-genai"
    job = {**_checkpoint(source, work), "target": str(target)}
    _run(python, _MEAN_NLL + _CHECKPOINT + _ONNXRUNTIME_GENAI, job)
    return target


def _checkpoint(source: Path, work: Path) -> dict[str, object]:
    return {"source": str(source.resolve()), "checkpoint": str(work / "checkpoint")}


def _run(python: str, program: str, job: dict[str, object]) -> PeerResult:
    run = subprocess.run(
        [python, "-c", program], input=json.dumps(job), capture_output=True, encoding="utf-8", check=False
    )
    if run.returncode:
        sys.exit(f"{python} failed with {run.returncode}: {run.stderr[-2000:]}")
    num_bytes, nlls = json.loads(run.stdout.splitlines()[-1])
    return PeerResult(num_bytes, [math.exp(nll) for nll in nlls])
