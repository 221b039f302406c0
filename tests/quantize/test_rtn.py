"""Round-to-nearest: the layout of MatMulNBits, and bounds on the error."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from genai.errors import OptionError
from genai.quantize import BlockScheme, quantize_rows, round_to_nearest

SCHEMES = st.builds(
    BlockScheme,
    bits=st.sampled_from([4, 8]),
    block_size=st.sampled_from([16, 32, 64, 128]),
    is_symmetric=st.booleans(),
    scale_type=st.sampled_from(["float32", "float16"]),
)
KINDS = [
    BlockScheme(bits, 32, is_symmetric=is_symmetric, scale_type=scale_type)
    for bits in (4, 8)
    for is_symmetric in (True, False)
    for scale_type in ("float32", "float16")
]


def random_rows(num_rows: int, num_columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((num_rows, num_columns)).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(scheme=SCHEMES, num_rows=st.integers(1, 9), num_columns=st.integers(1, 300), seed=st.integers(0, 99))
def test_no_weight_is_off_by_more_than_its_scale(
    scheme: BlockScheme, num_rows: int, num_columns: int, seed: int
) -> None:
    """Half a scale by rounding; a whole one where an end has no code, by a zero point or a scale that is rounded."""
    rows = random_rows(num_rows, num_columns, seed)
    scales = np.repeat(np.abs(quantize_rows(rows, scheme).scales), scheme.block_size, axis=1)[:, :num_columns]
    # A scale of 11 bits is off by 2**-12 of itself at most, and the farthest code is that many scales away.
    slack = scheme.max_code * 2.0**-12 if scheme.scale_type == "float16" else 0.0
    assert (np.abs(round_to_nearest(rows, scheme) - rows) <= scales * (1.0001 + slack) + 1e-7).all()


@settings(deadline=None, max_examples=30)
@given(scheme=SCHEMES, num_columns=st.integers(1, 300))
def test_shapes_are_those_of_matmul_nbits(scheme: BlockScheme, num_columns: int) -> None:
    rows, num_blocks = random_rows(3, num_columns), -(-num_columns // scheme.block_size)
    rounded = quantize_rows(rows, scheme)
    assert rounded.codes.shape == (3, num_blocks, scheme.block_size * scheme.bits // 8)
    assert rounded.scales.shape == (3, num_blocks)


@pytest.mark.parametrize("scheme", KINDS)
def test_quantizing_what_was_dequantized_changes_nothing(scheme: BlockScheme) -> None:
    once = round_to_nearest(random_rows(5, 96), scheme)
    np.testing.assert_allclose(round_to_nearest(once, scheme), once, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scheme", KINDS)
def test_zeros_stay_zeros(scheme: BlockScheme) -> None:
    rows = random_rows(3, 96)
    rows[0, 32:] = rows[1, ::2] = rows[2] = 0.0
    assert (round_to_nearest(rows, scheme)[rows == 0] == 0).all()


def test_a_zero_point_follows_blocks_that_lie_to_one_side() -> None:
    rows = random_rows(2000, 32) * 0.3 + 1
    errors = [
        np.square(round_to_nearest(rows, BlockScheme(4, 32, is_symmetric=is_symmetric)) - rows).mean()
        for is_symmetric in (False, True)
    ]
    assert errors[0] < 0.8 * errors[1]


def test_scales_of_half_the_bytes_are_exact_in_them() -> None:
    for scheme in KINDS:
        scales = quantize_rows(random_rows(5, 96), scheme).scales
        assert (scales == scales.astype(np.float16)).all() == (scheme.scale_type == "float16")


@pytest.mark.parametrize("scheme", KINDS)
@pytest.mark.parametrize("magnitude", [1e-36, 1e-38, 1e-39, 1e-44])
def test_weights_of_almost_nothing_stay_almost_nothing(scheme: BlockScheme, magnitude: float) -> None:
    """Rows of unused tokens decay to numbers whose scale has no finite inverse; numpy must not complain."""
    rows = random_rows(3, 64) * np.float32(magnitude)
    with np.errstate(all="raise", under="ignore"):
        found = round_to_nearest(rows, scheme)
    assert np.abs(found - rows).max() <= np.abs(rows).max()


def test_the_signed_scale_beats_the_symmetric_one() -> None:
    rows = random_rows(2000, 32)
    scales = np.abs(rows).max(axis=1, keepdims=True) / 7
    symmetric = np.square(np.clip(np.rint(rows / scales), -8, 7) * scales - rows).mean()
    assert np.square(round_to_nearest(rows, BlockScheme(4, 32)) - rows).mean() < 0.8 * symmetric


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("num_columns", [64, 72])
def test_onnx_runtime_reads_the_weights_we_mean(bits: int, num_columns: int) -> None:
    scheme, rows = BlockScheme(bits, 32), random_rows(10, num_columns)
    rounded = quantize_rows(rows, scheme)
    node = helper.make_node(
        "MatMulNBits",
        ["x", "codes", "scales"],
        ["y"],
        domain="com.microsoft",
        K=num_columns,
        N=10,
        bits=bits,
        block_size=32,
    )
    graph = helper.make_graph(
        [node],
        "product",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", num_columns]),
            helper.make_tensor_value_info("codes", TensorProto.UINT8, rounded.codes.shape),
            helper.make_tensor_value_info("scales", TensorProto.FLOAT, rounded.scales.shape),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.eye(num_columns, dtype=np.float32)
    (weights,) = session.run(None, {"x": x, "codes": rounded.codes, "scales": rounded.scales})
    np.testing.assert_allclose(weights.T, round_to_nearest(rows, scheme), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("block_size", [0, 8, 48, 512, 32.0, None])
def test_an_impossible_block_size_is_refused(block_size: object) -> None:
    with pytest.raises(OptionError, match="block_size must be a power of two from 16 to 256"):
        BlockScheme(4, block_size)  # type: ignore[arg-type]


def test_impossible_bits_are_refused() -> None:
    with pytest.raises(OptionError, match="bits must be 2, 4 or 8, not 3"):
        BlockScheme(3, 32)
