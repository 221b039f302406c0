"""Adapters' files: what is written is read, by others too, and what is damaged is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from genai.errors import ModelFolderError
from genai.folder.adapter_files import LowRank, read_adapter, write_adapter


@given(
    shapes=st.dictionaries(
        st.text("ab.0", min_size=1, max_size=5),
        st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
        min_size=1,
        max_size=4,
    ),
    dtype=st.sampled_from([np.float32, np.float16, ml_dtypes.bfloat16]),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, tuple[int, int, int]], dtype: Any
) -> None:
    path = tmp_path_factory.mktemp("adapter") / "a.safetensors"
    random = np.random.default_rng(0)
    written = {
        name: LowRank(
            random.normal(size=(rank, inputs)).astype(dtype),
            random.normal(size=(rank, outputs)).astype(dtype),
        )
        for name, (rank, inputs, outputs) in shapes.items()
    }
    write_adapter(path, written)
    found = read_adapter(path)
    assert found.keys() == written.keys()
    for name, added in written.items():
        assert found[name].a.dtype == dtype
        np.testing.assert_array_equal(found[name].a, added.a)
        np.testing.assert_array_equal(found[name].b, added.b)
    if dtype != ml_dtypes.bfloat16:
        theirs = load_file(path)
        assert all(np.array_equal(theirs[f"{name}.lora_A"], added.a) for name, added in written.items())


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"x.lora_A": (2, 3)}, '"x" has no two matrices of one rank'),
        ({"x.lora_A": (2, 3), "x.lora_B": (3, 3)}, '"x" has no two matrices of one rank'),
        ({"x.lora_A": (2, 3), "x.lora_B": (2, 3), "y": (1,)}, 'the tensor "y" is none of an adapter'),
        ({}, "it adapts nothing"),
    ],
)
def test_what_is_no_adapter_is_refused(tensors: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({name: np.zeros(shape, np.float32) for name, shape in tensors.items()}, path)
    with pytest.raises(ModelFolderError, match=message):
        read_adapter(path)


def test_what_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_adapter(path, {"x": LowRank(np.ones((2, 3), np.float32), np.ones((2, 4), np.float32))})
    whole = path.read_bytes()
    for content in (
        b"",
        whole[:4],
        whole[:40],
        whole[:-1],
        b"\xff" * 8 + whole[8:],
        whole[:8] + b"[1]" + whole[11:],
    ):
        path.write_bytes(content)
        with pytest.raises(ModelFolderError, match="damaged, or not safetensors"):
            read_adapter(path)
