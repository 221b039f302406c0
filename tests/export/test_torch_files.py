"""pytorch_model.bin: read like safetensors, and never run."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from genai.errors import CheckpointError
from genai.export import export_model
from genai.export.checkpoint.checkpoint import read_config
from genai.export.checkpoint.formats import open_checkpoint
from genai.export.checkpoint.tensor_files import TensorFiles
from genai.export.checkpoint.torch_files import open_torch_files
from tests.checkpoints import VOCAB_SIZE, load_reference, make_checkpoint
from tests.export.quantized.encoders import CASES, make_pair
from tests.export.runner import GraphRunner

PROMPT = np.random.default_rng(3).integers(3, VOCAB_SIZE, 24).tolist()
FILE = "pytorch_model.bin"


def in_torch_files(checkpoint: Path, *, num_files: int = 1) -> Path:
    """Save a checkpoint's tensors with torch.save instead of safetensors, in one file or several."""
    tensors = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    if num_files == 1:
        torch.save(OrderedDict(tensors), checkpoint / FILE)
        return checkpoint
    weight_map = {}
    for part in range(num_files):
        name = f"pytorch_model-{part + 1:05}-of-{num_files:05}.bin"
        names = sorted(tensors)[part::num_files]
        torch.save({each: tensors[each] for each in names}, checkpoint / name)
        weight_map |= dict.fromkeys(names, name)
    (checkpoint / f"{FILE}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return checkpoint


@pytest.mark.parametrize("num_files", [1, 3])
def test_an_export_is_that_of_the_same_weights_in_safetensors(num_files: int, tmp_path: Path) -> None:
    checkpoint = make_checkpoint("llama", tmp_path / "checkpoint")
    first = export_model(checkpoint, tmp_path / "safetensors", precision="fp32", via="native")
    with torch.no_grad():
        expected = load_reference(checkpoint)(torch.tensor([PROMPT])).logits[0].numpy()
    in_torch_files(checkpoint, num_files=num_files)
    second = export_model(checkpoint, tmp_path / "torch", precision="fp32", via="native")
    assert first.manifest is not None
    assert second.manifest is not None
    assert first.manifest.files["model.onnx.data"] == second.manifest.files["model.onnx.data"]
    np.testing.assert_allclose(GraphRunner(second).feed(PROMPT), expected, atol=1e-4, rtol=0)


def test_a_quantized_checkpoint(tmp_path: Path) -> None:
    pair = make_pair(CASES["gptq-act-order"], tmp_path)
    checkpoint = open_checkpoint(in_torch_files(pair.quantized), read_config(pair.quantized))
    for name, matrix in pair.matrices.items():
        np.testing.assert_array_equal(checkpoint[name][:], matrix)


def opened(content: Any, folder: Path, **options: Any) -> TensorFiles:
    torch.save(content, folder / FILE, **options)
    return open_torch_files(folder, {})


def test_views_of_any_type_and_order(tmp_path: Path) -> None:
    whole = torch.randn(6, 8)
    tensors = {
        "transposed": whole.T,
        "part": whole[2:4, 3:],
        "every other": whole[::2, ::3],
        "scalar": whole[1, 1],
        "empty": torch.zeros(0, 4),
        "half": whole.half(),
        "bfloat16": whole.bfloat16(),
        "double": whole.double(),
        "parameter": torch.nn.Parameter(whole.clone(), requires_grad=False),
    }
    found = opened(tensors, tmp_path)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name].astype(np.float64), tensor.double().numpy())
    for dtype in (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool):
        integers = (whole * 10).to(dtype)
        files = opened({"integers": integers}, tmp_path)
        np.testing.assert_array_equal(files.raw("integers"), integers.numpy())
        with pytest.raises(CheckpointError, match="expected one of F64"):
            files["integers"]


def test_a_state_dict_with_metadata(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    assert opened(module.state_dict(), tmp_path).keys() == {"weight", "bias"}
    for protocol in (2, 3, 4):
        assert opened(module.state_dict(), tmp_path, pickle_protocol=protocol).keys() == {"weight", "bias"}


class Payload:
    """What runs a command when it is unpickled."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_is_ever_run(protocol: int, tmp_path: Path) -> None:
    target = tmp_path / "ran"
    for call, arguments in (
        (os.system, (f"touch {target}",)),
        (eval, (f"open({str(target)!r}, 'w')",)),
        (open, (str(target), "w")),
        (getattr, ("torch", "load")),
        (torch.load, (str(target),)),
    ):
        for content in (
            {"weight": Payload(call, *arguments)},
            Payload(call, *arguments),
            [Payload(call, *arguments)],
        ):
            with pytest.raises(
                CheckpointError, match=r"which no tensor needs, and would run it; ask for safetensors"
            ):
                opened(content, tmp_path, pickle_protocol=protocol)
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "no dictionary of tensors"),
        ({"state_dict": {"weight": torch.zeros(2)}}, "'state_dict' is none"),
        ({"weight": torch.zeros(2), "step": 3}, "'step' is none"),
        ({1: torch.zeros(2)}, "'1' is none"),
        (torch.zeros(2), "no dictionary of tensors"),
        (None, "no dictionary of tensors"),
        ({"weight": np.zeros(2)}, "which no tensor needs"),
        ({"weight": torch.zeros(4).to_sparse()}, "which no tensor needs"),
        ({"weight": torch.zeros(2, dtype=torch.complex64)}, "which no tensor needs"),
    ],
)
def test_what_is_no_dictionary_of_tensors(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        opened(content, tmp_path)


def test_files_of_old_versions_and_other_kinds(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"since version 1\.6, but perhaps a pickle.*save_pre"):
        opened({"weight": torch.zeros(2)}, tmp_path, _use_new_zipfile_serialization=False)
    for content in (b"", b"PK", b"hello" * 100, pickle.dumps({})):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(CheckpointError, match="not an archive"):
            open_torch_files(tmp_path, {})
    with zipfile.ZipFile(tmp_path / FILE, "w") as archive:
        archive.writestr("a/readme", "")
    with pytest.raises(CheckpointError, match=r"no data\.pkl"):
        open_torch_files(tmp_path, {})


def rewritten(
    path: Path, change: Callable[[str, bytes], bytes], *, compression: int = zipfile.ZIP_STORED
) -> None:
    """Change the members of an archive."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, change(name, content))


def test_compressed_and_foreign_archives(tmp_path: Path) -> None:
    opened({"weight": torch.zeros(1000)}, tmp_path)
    original = (tmp_path / FILE).read_bytes()
    rewritten(tmp_path / FILE, lambda name, content: content, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="is compressed, which PyTorch never does"):
        open_torch_files(tmp_path, {})
    (tmp_path / FILE).write_bytes(original)
    rewritten(tmp_path / FILE, lambda name, content: b"big" if name.endswith("byteorder") else content)
    with pytest.raises(CheckpointError, match="another byte order"):
        open_torch_files(tmp_path, {})
    (tmp_path / FILE).write_bytes(original)
    rewritten(tmp_path / FILE, lambda name, content: content[:-4] if name.endswith("data/0") else content)
    with pytest.raises(CheckpointError, match="needs 4000 bytes, of which there are 3996"):
        open_torch_files(tmp_path, {})
    rewritten(tmp_path / FILE, lambda name, content: b"\x80\x02" if name.endswith("data.pkl") else content)
    with pytest.raises(CheckpointError, match="malformed"):
        open_torch_files(tmp_path, {})


def pickled_tensor(*, size: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """The pickle of {"w": a view of a storage}, as torch.save writes it, whatever the numbers are."""

    def number(value: int) -> bytes:
        encoded = pickle.encode_long(value)
        return b"\x8a" + bytes([len(encoded)]) + encoded

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = (
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(size) + b"tQ"
    )
    tensor = (
        b"("
        + storage
        + number(offset)
        + numbers(shape)
        + numbers(strides)
        + b"\x89ccollections\nOrderedDict\n)Rt"
    )
    return b"\x80\x02}(" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n" + tensor + b"Ru."


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shape": (9,), "strides": (1,)}, "leaves its storage of 8"),
        ({"offset": 1, "shape": (8,), "strides": (1,)}, "leaves its storage"),
        ({"offset": -1, "shape": (4,), "strides": (1,)}, "impossible"),
        ({"shape": (4,), "strides": (-1,)}, "impossible"),
        ({"shape": (-4,), "strides": (1,)}, "impossible"),
        ({"shape": (2, 2), "strides": (1 << 62, 1)}, "leaves its storage"),
        ({"shape": (1 << 62,), "strides": (0,)}, "leaves its storage"),
        ({"shape": (1 << 900, 1 << 900), "strides": (0, 0)}, "leaves its storage"),
        ({"shape": (2,), "strides": (1, 1)}, "malformed"),
        ({"shape": (1,) * 40, "strides": (1,) * 40}, "impossible"),
        ({"size": 1 << 40, "shape": (8,), "strides": (1,)}, "of which there are 32"),
        ({"size": 1 << 900, "shape": (8,), "strides": (1,)}, "of which there are 32"),
        ({"size": -8, "shape": (8,), "strides": (1,)}, "malformed"),
    ],
)
def test_tensors_that_lie_about_where_they_are(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert opened({"w": torch.arange(8.0)}, tmp_path)["w"].tolist() == list(range(8))
    lie = pickled_tensor(**{"size": 8, "offset": 0, **values})
    rewritten(tmp_path / FILE, lambda name, content: lie if name.endswith("data.pkl") else content)
    with pytest.raises(CheckpointError, match=message):
        open_torch_files(tmp_path, {})


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02Nr\xff\xff\xff\x7f.",  # a memo of two thousand million entries
        b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".",
        b"\x80\x02" + b"]" + b"q\x00h\x00a" * 10_000 + b".",  # a list in itself
        b"\x80\x02)" + b"2\x86" * 200 + b".",  # a tuple of 2 ** 200 elements
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x02}}Ns.",
        b"\x80\x02.",
        b"\x80\x020.",
        b"\x80\x02h\x05.",
        b"\x80\x02u.",
        b"cos\nsystem\n(X\x02\x00\x00\x00lstR.",
        b"\x80\x02c__builtin__\nexec\n.",
        b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x02ctorch\nFloatStorage\n)R.",
        b"\x80\x02ccollections\nOrderedDict\n]R.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"\x80\x02NQ.",
        b"\x80\x02)Nb.",
        b"\x80\x02\x82\x01.",
    ],
    ids=lambda content: content[:12].hex(),
)
def test_pickles_that_attack(content: bytes, tmp_path: Path) -> None:
    opened({"w": torch.zeros(8)}, tmp_path)
    rewritten(tmp_path / FILE, lambda name, old: content if name.endswith("data.pkl") else old)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: its pickle"):
        open_torch_files(tmp_path, {})


def test_pickles_that_are_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened({"w": torch.zeros(8)}, tmp_path)
    monkeypatch.setattr("genai.export.checkpoint.torch_pickle._MAX_OPCODES", 5)
    with pytest.raises(CheckpointError, match="more than 5 opcodes"):
        open_torch_files(tmp_path, {})
    monkeypatch.setattr("genai.export.checkpoint.torch_files._MAX_PICKLE_BYTES", 50)
    with pytest.raises(CheckpointError, match="more than any list of tensors"):
        open_torch_files(tmp_path, {})


def test_mutations_give_one_clear_error_or_tensors(tmp_path: Path) -> None:
    tensors = {f"layer.{i}": torch.randn(4, 6) for i in range(4)}
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    original, rng = buffer.getvalue(), np.random.default_rng(0)
    num_refused = 0
    for index in range(2000):
        content = bytearray(original)
        if index % 4 == 0:
            content = content[: rng.integers(len(content))]
        for place in rng.integers(0, max(1, len(content)), rng.integers(1, 8)) if content else ():
            content[place] = rng.integers(256)
        (tmp_path / FILE).write_bytes(content)
        try:
            files = open_torch_files(tmp_path, {})
            for name in files:
                files.raw(name).tobytes()
        except CheckpointError:
            num_refused += 1
    assert num_refused > 500
