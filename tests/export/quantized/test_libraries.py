"""The formats as the libraries that own them write and decode them, for those that are installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from genai.export.checkpoint.formats import open_checkpoint
from genai.export.checkpoint.rows import codes_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

ROWS, COLUMNS = 64, 256
MODULE = "model.layers.0.mlp.down_proj"


def assert_read(
    parts: dict[str, torch.Tensor],
    config: dict[str, Any],
    expected: torch.Tensor,
    folder: Path,
    *,
    metadata: dict[str, str] | None = None,
    rtol: float = 0.0,
) -> None:
    """Save parts by the ending of their names, and compare what is read with the library's matrix."""
    tensors = {f"{MODULE}{ending}": part.contiguous() for ending, part in parts.items()}
    save_file(tensors, folder / "model.safetensors", metadata=metadata)
    view = open_checkpoint(folder, {"quantization_config": config})[f"{MODULE}.weight"]
    np.testing.assert_allclose(view[:], expected.detach().float().numpy(), rtol=rtol, atol=0)
    codes = codes_of(view)
    if codes is not None:
        np.testing.assert_allclose(codes.dequantize(), view[:], rtol=rtol, atol=0)


def random_weight() -> torch.Tensor:
    return torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0)) / 8


@pytest.mark.parametrize(
    ("layout", "weights"),
    [
        ("pack-quantized", {"num_bits": 4, "strategy": "group", "group_size": 32}),
        ("pack-quantized", {"num_bits": 4, "strategy": "group", "group_size": 128, "symmetric": False}),
        ("pack-quantized", {"num_bits": 8, "strategy": "channel"}),
        ("pack-quantized", {"num_bits": 3, "strategy": "channel", "symmetric": False}),
        ("int-quantized", {"num_bits": 8, "strategy": "channel"}),
        ("int-quantized", {"num_bits": 8, "strategy": "tensor", "symmetric": False}),
        ("naive-quantized", {"num_bits": 8, "strategy": "channel"}),
        ("float-quantized", {"num_bits": 8, "type": "float", "strategy": "tensor"}),
        ("float-quantized", {"num_bits": 8, "type": "float", "strategy": "channel"}),
        (
            "float-quantized",
            {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [16, 64]},
        ),
        (
            "nvfp4-pack-quantized",
            {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
        ),
        ("mxfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}),
    ],
)
def test_compressed_tensors(layout: str, weights: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    weights = {"type": "int", "symmetric": True, **weights}
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights))
    sizes = {
        "tensor": (1,),
        "channel": (ROWS, 1),
        "block": (ROWS // 16, COLUMNS // 64),
    }.get(weights["strategy"], (ROWS, COLUMNS // weights.get("group_size", 1)))
    generator = torch.Generator().manual_seed(1)
    largest = {("int", 8): 0.004, ("int", 4): 0.05, ("int", 3): 0.1, ("float", 8): 0.001, ("float", 4): 0.06}
    scale = largest[weights["type"], weights["num_bits"]] * (0.5 + torch.rand(sizes, generator=generator))
    state = {"weight": random_weight(), "weight_scale": scale}
    if layout.startswith("nvfp4"):
        state["weight_global_scale"] = torch.tensor([448 * 6 / float(state["weight"].abs().max())])
        state["weight_scale"] = (scale * state["weight_global_scale"]).to(torch.float8_e4m3fn).float()
    if layout.startswith("mxfp4"):
        state["weight_scale"] = 2.0 ** torch.floor(torch.log2(scale))
    if not weights["symmetric"]:
        half = 2 ** (weights["num_bits"] - 2)
        state["weight_zero_point"] = torch.randint(-half, half, sizes, generator=generator).to(torch.int8)
    compressor = BaseCompressor.get_value_from_registry(layout)
    compressed = compressor.compress(state, scheme)
    expected = compressor.decompress(compressed, scheme)["weight"]
    config = {
        "quant_method": "compressed-tensors",
        "format": layout,
        "config_groups": {"group_0": json.loads(scheme.model_dump_json())},
        "quantization_status": "compressed",
    }
    # The library decodes FP4 in bfloat16 where nobody says otherwise.
    rtol = 2**-7 if "fp4" in layout else 0.0
    assert_read(
        {f".{name}": part for name, part in compressed.items()}, config, expected, tmp_path, rtol=rtol
    )


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("is_nested", [False, True])
def test_bitsandbytes_4bit(kind: str, is_nested: bool, tmp_path: Path) -> None:
    """Its CPU kernel of 0.50 decodes blocks that cross rows wrongly, so rows are of whole blocks here."""
    functional = pytest.importorskip("bitsandbytes").functional

    packed, state = functional.quantize_4bit(random_weight(), quant_type=kind, compress_statistics=is_nested)
    expected = functional.dequantize_4bit(packed, state)
    parts = {f".weight.{name}": part for name, part in state.as_dict(packed=True).items()}
    config = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": is_nested}
    assert_read({".weight": packed, **parts}, config, expected, tmp_path)


def test_bitsandbytes_int8(tmp_path: Path) -> None:
    functional = pytest.importorskip("bitsandbytes").functional

    codes, largest, _ = functional.int8_vectorwise_quant(random_weight().half())
    expected = functional.int8_vectorwise_dequant(codes, largest)
    config = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    assert_read({".weight": codes, ".SCB": largest}, config, expected, tmp_path, rtol=1e-6)


@pytest.mark.parametrize("name", ["int8", "int8-asymmetric", "intx"])
def test_torchao(name: str, tmp_path: Path) -> None:
    quantization = pytest.importorskip("torchao.quantization")
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
    from torchao.quantization.granularity import PerGroup

    config = {
        "int8": lambda: quantization.Int8WeightOnlyConfig(),
        "int8-asymmetric": lambda: quantization.IntxWeightOnlyConfig(
            weight_dtype=torch.int8, mapping_type=quantization.MappingType.ASYMMETRIC
        ),
        "intx": lambda: quantization.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32)),
    }[name]()
    linear = torch.nn.Linear(COLUMNS, ROWS, bias=False)
    quantization.quantize_(linear, config)
    tensors, metadata = flatten_tensor_state_dict({f"{MODULE}.weight": linear.weight.data})
    parts = {key.removeprefix(MODULE): value for key, value in tensors.items()}
    expected = linear.weight.dequantize()
    assert_read(parts, {"quant_method": "torchao"}, expected, tmp_path, metadata=metadata)
