"""What a folder can hold beside floats and our own codes lands on CUDA too: other tools' codes, caches of codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from genai import Generator
from genai.calibration import CalibrationText, export_calibrated, packaged_text
from genai.config import ExportSettings
from genai.export import plan_export
from genai.export.checkpoint.gguf.blocks import CARRIED
from tests.accelerators.counters import counted
from tests.accelerators.models import export
from tests.accelerators.test_cuda_families import assert_lands
from tests.checkpoints import make_checkpoint
from tests.export.gguf.converter import write_gguf
from tests.export.gguf.test_kept import replace_matrices
from tests.export.quantized.encoders import CASES, make_pair

pytestmark = pytest.mark.cuda_stub

SIZES = {"hidden_size": 256, "intermediate_size": 256, "head_dim": 64}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.is_kept])
def test_kept_codes_land(name: str, tmp_path: Path) -> None:
    pair = make_pair(CASES[name], tmp_path, **SIZES)
    assert_lands(export(pair.quantized, tmp_path / "model", provider="cuda", precision="keep"))


@pytest.mark.parametrize("type_name", sorted(CARRIED))
def test_kept_codes_of_a_gguf_file_land(type_name: str, tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint", **SIZES, num_hidden_layers=1)
    file = write_gguf(checkpoint, tmp_path / "floats.gguf")
    replace_matrices(file, tmp_path / "model.gguf", type_name)
    assert_lands(export(tmp_path / "model.gguf", tmp_path / "model", provider="cuda", precision="keep"))


@pytest.mark.parametrize("precision", ["int4", "int8", "fp16"])
@pytest.mark.parametrize("says_no", [False, True])
def test_the_fast_product_takes_our_codes(
    precision: str, says_no: bool, fast_product: Callable[[bool], None], tmp_path: Path
) -> None:
    """Its variants are tried when the session is made, which runs kernels; a folder may do without."""
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint", **SIZES, num_hidden_layers=1)
    folder = export(checkpoint, tmp_path / "model", provider="cuda", precision=precision)
    if says_no:
        config = json.loads((folder / "genai_config.json").read_text())
        config["model"]["decoder"]["session_options"]["ep.cuda.fpa_intb_gemm"] = "0"
        (folder / "genai_config.json").write_text(json.dumps(config))
    fast_product(True)
    with counted() as counts, Generator(folder, provider="cuda"):
        pass
    assert bool(counts.get("kernels")) == (precision != "fp16" and not says_no)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2", "mistral", "gpt_oss", "lfm2", "phi3"])
def test_a_cache_of_codes_lands(family: str, checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    settings = ExportSettings("int4", kv_precision="int8", provider="cuda")
    text = CalibrationText("part", packaged_text().content[:7000])
    export_calibrated(plan_export(checkpoint_of(family), settings), tmp_path / "model", text=text)
    assert_lands(tmp_path / "model")
