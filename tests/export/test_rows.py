"""Rows that are selected, interleaved, padded and stacked: always what numpy makes of the whole."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai.export.build import tensors
from genai.export.build.tensors import LazyTensor, stack
from genai.export.checkpoint.rows import (
    Experts,
    InterleavedRows,
    MergedRows,
    PaddedRows,
    Rows,
    SelectedRows,
    experts_of,
)

MATRIX = np.arange(60, dtype=np.float32).reshape(12, 5)
NARROW_A = np.arange(10, dtype=np.float32).reshape(2, 5)
NARROW_B = np.arange(24, dtype=np.float32).reshape(12, 2)
MERGED = MATRIX + NARROW_B @ NARROW_A

CASES: dict[str, tuple[Rows, np.ndarray]] = {
    "selected": (SelectedRows(MATRIX, np.asarray([7, 2, 2, 11])), MATRIX[[7, 2, 2, 11]]),
    "interleaved": (
        InterleavedRows((MATRIX[:4], MATRIX[4:8], MATRIX[8:])),
        MATRIX.reshape(3, 4, 5).swapaxes(0, 1).reshape(12, 5),
    ),
    "padded": (PaddedRows(MATRIX[:7], 11), np.concatenate([MATRIX[:7], np.zeros((4, 5), np.float32)])),
    "padded to columns too": (PaddedRows(MATRIX[:7, :3], 11, 5), np.pad(MATRIX[:7, :3], ((0, 4), (0, 2)))),
    "not padded": (PaddedRows(MATRIX, 12), MATRIX),
    "merged": (MergedRows(MATRIX, NARROW_A, NARROW_B), MERGED),
    "merged and brought to their lengths": (
        MergedRows(MATRIX, NARROW_A, NARROW_B, 2 * np.linalg.norm(MERGED, axis=1)),
        2 * MERGED,
    ),
    "selected of merged": (
        SelectedRows(MergedRows(MATRIX, NARROW_A, NARROW_B), np.asarray([7, 2, 2, 11])),
        MERGED[[7, 2, 2, 11]],
    ),
    "interleaved and padded": (
        PaddedRows(InterleavedRows((MATRIX[:2], SelectedRows(MATRIX, np.asarray([9, 4])))), 6),
        np.concatenate([MATRIX[[0, 9, 1, 4]], np.zeros((2, 5), np.float32)]),
    ),
}


@pytest.mark.parametrize("case", CASES)
@given(start=st.integers(0, 13), stop=st.integers(0, 13), first=st.integers(0, 5), last=st.integers(0, 5))
def test_slices_are_those_of_the_whole(case: str, start: int, stop: int, first: int, last: int) -> None:
    rows, whole = CASES[case]
    assert rows.shape == whole.shape
    assert len(rows) == len(whole)
    np.testing.assert_array_equal(rows[start:stop], whole[start:stop])
    np.testing.assert_array_equal(rows[:, first:last], whole[:, first:last])


def test_vectors_are_interleaved_and_padded_too() -> None:
    rows = PaddedRows(InterleavedRows((MATRIX[0], MATRIX[1])), 13)
    expected = np.concatenate([MATRIX[:2].T.reshape(-1), np.zeros(3, np.float32)])
    assert rows.shape == (13,)
    np.testing.assert_array_equal(rows[:], expected)


def test_a_stack_of_experts_gives_each_of_them() -> None:
    parts = (MATRIX[:4], MATRIX[4:8])
    for stacked in (Experts(parts), np.stack(parts)):
        for expert, part in zip(experts_of(stacked), parts, strict=True):
            np.testing.assert_array_equal(expert[:], part)


def test_large_matrices_of_a_stack_are_written_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "CHUNK_BYTES", 4 * 5 * 3)
    flat = stack([MATRIX[:4], MATRIX[4:8], MATRIX[8:]], ir.DataType.FLOAT)
    chunks = list(LazyTensor(flat.dtype, (3, 4, 5), flat.read, row_axes=2).chunks())
    assert [len(chunk) for chunk in chunks] == [60] * 4
    assert b"".join(chunks) == MATRIX.tobytes()
