"""Folders that Optimum made, run unmodified: the tokens are those of Optimum's own runtime.

Optimum's ONNX exporter needs an older transformers than genai's tests, and so an environment of its own:

    python -m venv optimum && optimum/bin/pip install torch "optimum-onnx[onnxruntime]==0.1.0" "transformers<4.58"
    GENAI_TEST_OPTIMUM_PYTHON=optimum/bin/python pytest -m slow tests/foreign/test_optimum.py
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from genai.folder import ModelFolder
from tests.foreign import optimum_program
from tests.foreign.reference import NUM_NEW, greedy_by_genai, make_prompts

pytestmark = pytest.mark.slow

OPTIMUM_PYTHON = Path(os.environ.get("GENAI_TEST_OPTIMUM_PYTHON", "optimum/bin/python"))
PROMPTS = make_prompts(331, (5, 17, 1, 150))


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with Optimum's export of each family, and tokens.json."""
    if not OPTIMUM_PYTHON.is_file():
        pytest.skip(f"Optimum is not installed: no {OPTIMUM_PYTHON} (GENAI_TEST_OPTIMUM_PYTHON)")
    root = tmp_path_factory.mktemp("optimum")
    job = root / "job.json"
    job.write_text(json.dumps({"root": str(root), "prompts": PROMPTS, "num_new": NUM_NEW}))
    command = [str(OPTIMUM_PYTHON), "-W", "ignore", optimum_program.__file__, str(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return root


@pytest.mark.parametrize("family", optimum_program.FAMILIES)
def test_the_same_tokens_as_its_maker(exports: Path, family: str) -> None:
    folder = exports / family
    assert ModelFolder.load(folder).decoder.model_type == family
    assert greedy_by_genai(folder, PROMPTS) == json.loads((exports / "tokens.json").read_text())[family]
