"""Files that are truncated, damaged or lie: one clear error each, soon, in little memory, and nothing left behind."""

from __future__ import annotations

import contextlib
import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from genai.errors import CheckpointError, GenaiError, UnsupportedModelError
from genai.export import export_model, plan_export
from genai.export.checkpoint.formats import open_checkpoint, write_text_files
from genai.export.checkpoint.gguf.reader import read_gguf
from genai.export.checkpoint.weights import Weights
from tests.checkpoints import make_checkpoint
from tests.export.gguf.converter import write_gguf

NUM_MUTATIONS = 2000
HUGE = (1 << 64) - 1


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    root = tmp_path_factory.mktemp("valid")
    sizes = {"hidden_size": 32, "intermediate_size": 32, "head_dim": 8, "num_hidden_layers": 1}
    checkpoint = make_checkpoint("llama", root / "checkpoint", **sizes)
    kind = gguf.GGMLQuantizationType.Q4_1
    return write_gguf(checkpoint, root / "model.gguf", quantize=lambda name, array: kind).read_bytes()


def read_everything(path: Path) -> None:
    """Do everything of an export but the writing of weights, which are not looked at more than numbers."""
    plan = plan_export(path, keeps_quantized=True)
    assert plan.native is not None
    checkpoint = open_checkpoint(path, plan.config)
    spec, family = plan.native.spec, plan.native.family
    Weights(
        checkpoint,
        plan.native.weight_map,
        shapes=spec.parameters(),
        num_layers=len(spec.layers),
        tied=spec.tied,
        prefixes=family.prefixes,
    )
    write_text_files(path, path.parent)


def mutated(data: bytes, chance: random.Random, header_bytes: int) -> bytes:
    """Return the file with one thing wrong, most often in its header."""
    changed = bytearray(data)
    at = chance.randrange(4, header_bytes if chance.random() < 0.9 else len(data))
    kind = chance.randrange(6)
    if kind == 0:
        changed[at] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del changed[at:]
    elif kind == 2:
        changed[at : at + 8] = struct.pack("<Q", chance.choice((HUGE, 1 << 40, 1 << 31, len(data), 0)))
    elif kind == 3:
        changed[at : at + 4] = struct.pack("<I", chance.choice((9, 8, 13, 0xFFFFFFFF, 0)))
    elif kind == 4:
        changed[at:at] = changed[at : at + chance.randrange(1, 64)]
    else:
        changed[at : at + 16] = bytes(chance.randrange(256) for _ in range(16))
    return bytes(changed)


def test_mutations_give_one_error_each(valid: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(valid)
    header_bytes = len(valid) - sum(tensor.rows.nbytes for tensor in read_gguf(path).tensors.values())
    chance = random.Random(0)
    num_refused = 0
    before = {file.name for file in tmp_path.iterdir()}
    for number in range(NUM_MUTATIONS):
        target = tmp_path / "mutant.gguf"
        target.write_bytes(mutated(valid, chance, header_bytes))
        begun = time.perf_counter()
        try:
            read_everything(target)
        except GenaiError:
            num_refused += 1
        assert time.perf_counter() - begun < 1, number
        target.unlink()
    assert num_refused > NUM_MUTATIONS / 3
    left = {file.name for file in tmp_path.iterdir()} - before
    assert left <= {
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "chat_template.jinja",
    }


@pytest.mark.parametrize(
    "family", ["falcon", "gemma4_text", "deepseek_v2", "qwen3_moe", "stablelm", "gemma3n_text", "llama"]
)
def test_numbers_that_lie(family: str, tmp_path: Path) -> None:
    overrides = {"mlp_only_layers": []} if "qwen" in family else {}
    overrides |= {"altup_num_inputs": 4} if "3n" in family else {}
    file = write_gguf(make_checkpoint(family, tmp_path / "checkpoint", **overrides), tmp_path / "model.gguf")
    data, fields = file.read_bytes(), gguf.GGUFReader(file).fields
    architecture = fields["general.architecture"].contents()
    numbers = [
        field for key, field in fields.items() if key.startswith(architecture) and len(field.parts[-1]) == 1
    ]
    assert len(numbers) > 8
    for field in numbers:
        at = field.offset + sum(part.nbytes for part in field.parts[:-1])
        assert data[at : at + field.parts[-1].nbytes] == field.parts[-1].tobytes()
        for value in (0, 1, 3, 7, 1000, 1 << 24, 0xFFFFFFFF):
            lying = bytearray(data)
            lying[at : at + field.parts[-1].nbytes] = value.to_bytes(8, "little")[: field.parts[-1].nbytes]
            file.write_bytes(lying)
            begun = time.perf_counter()
            with contextlib.suppress(GenaiError):
                read_everything(file)
            assert time.perf_counter() - begun < 1, (field.name, value)


def header(*pairs: bytes, num_pairs: int | None = None, num_tensors: int = 0, version: int = 3) -> bytes:
    count = len(pairs) if num_pairs is None else num_pairs
    return b"GGUF" + struct.pack("<IQQ", version, num_tensors, count) + b"".join(pairs)


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def pair(key: str, kind: int, value: bytes) -> bytes:
    return string(key) + struct.pack("<I", kind) + value


def array(kind: int, count: int, *values: bytes) -> bytes:
    return struct.pack("<IQ", kind, count) + b"".join(values)


def nested(depth: int) -> bytes:
    return array(9, 1, nested(depth - 1)) if depth else array(4, 0)


def tensor(name: str, shape: tuple[int, ...], *, kind: int = 0, offset: int = 0) -> bytes:
    axes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return string(name) + axes + struct.pack("<IQ", kind, offset)


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "other": (b"PK\x03\x04" + bytes(40), "begins with"),
    "cut": (b"GGUF\x03", "ends within its header"),
    "old": (header(version=1), "version 1 of GGUF"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "many values": (header(num_pairs=HUGE), "announces"),
    "many tensors": (header(num_tensors=1 << 60), "announces"),
    "long string": (header(pair("a", 8, struct.pack("<Q", HUGE))), "bytes are left|are left"),
    "long key": (header(struct.pack("<Q", HUGE) + bytes(20)), "a key of the metadata has"),
    "unknown type": (header(pair("a", 13, bytes(8))), "has type 13"),
    "long array": (header(pair("a", 9, array(0, HUGE))), "announces"),
    "many strings": (header(pair("a", 9, array(8, 1 << 40))), "announces"),
    "array of unknown": (header(pair("a", 9, array(77, 1) + bytes(20))), "type 77"),
    "deep": (header(pair("a", 9, nested(400))), "arrays in arrays"),
    "twice": (header(pair("a", 0, b"\1"), pair("a", 0, b"\1")), "is there twice"),
    "odd alignment": (header(pair("general.alignment", 4, struct.pack("<I", 7))), "alignment is 7"),
    "tensor too far": (
        header(tensor("x", (4, 4), offset=1 << 62), num_tensors=1, num_pairs=0),
        "ends at byte",
    ),
    "tensor too large": (header(tensor("x", (1 << 40, 1 << 40)), num_tensors=1, num_pairs=0), "ends at byte"),
    "no rows": (header(tensor("x", (4, 0)), num_tensors=1, num_pairs=0), "has shape"),
    "part of a block": (header(tensor("x", (33,), kind=2), num_tensors=1, num_pairs=0), "has shape"),
    "five axes": (header(tensor("x", (1, 1, 1, 1, 1)), num_tensors=1, num_pairs=0), "5 axes"),
    "unknown tensor type": (header(tensor("x", (1,), kind=99), num_tensors=1, num_pairs=0), "type 99"),
    "overlap": (
        header(tensor("x", (64,)), tensor("y", (64,), offset=32), num_tensors=2, num_pairs=0) + bytes(1000),
        "within another one",
    ),
    "no architecture": (header(), "general.architecture"),
    "architecture of another type": (header(pair("general.architecture", 0, b"\1")), "must be a string"),
    "no sizes": (header(pair("general.architecture", 8, string("llama"))), "is missing"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_wrong_is_said(name: str, tmp_path: Path) -> None:
    content, message = HOSTILE[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises((CheckpointError, UnsupportedModelError), match=message) as raised:
        export_model(path, tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000
    assert str(path) in str(raised.value)
    assert [file.name for file in tmp_path.iterdir()] == ["model.gguf"]


def test_a_truncated_download(valid: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(valid[:-100])
    with pytest.raises(CheckpointError, match=r"ends at byte .*, the file at .*; download it again"):
        export_model(path, tmp_path / "out")


def test_a_missing_part(valid: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model-00001-of-00002.gguf"
    path.write_bytes(valid)
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002.gguf is missing"):
        plan_export(path)


def test_all_parts_are_read(valid: bytes, tmp_path: Path) -> None:
    whole = tmp_path / "whole.gguf"
    whole.write_bytes(valid)
    reader = gguf.GGUFReader(whole)
    split(reader, tmp_path, len(reader.tensors) // 2)
    found = read_gguf(tmp_path / "model-00002-of-00002.gguf")
    expected = read_gguf(whole)
    assert found.path.name == "model-00001-of-00002.gguf"
    assert found.tensors.keys() == expected.tensors.keys()
    for name, stored in expected.tensors.items():
        np.testing.assert_array_equal(found.tensors[name].rows, stored.rows)


def split(reader: gguf.GGUFReader, folder: Path, count: int) -> None:
    """Write a file again in two parts, of which the first has so many tensors."""
    for part, tensors in ((1, reader.tensors[:count]), (2, reader.tensors[count:])):
        writer = gguf.GGUFWriter(folder / f"model-0000{part}-of-00002.gguf", "llama")
        add: Callable[[str, int], None] = writer.add_uint16
        add("split.count", 2)
        for each in tensors:
            writer.add_tensor(each.name, each.data, raw_dtype=each.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
