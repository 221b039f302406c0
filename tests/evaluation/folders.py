"""Copies of a good folder, and the ways in which tests damage them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from genai.folder import CONFIG_FILE, MANIFEST_FILE, sha256_of

MODEL, DATA = "model.onnx", "model.onnx.data"


def sign(folder: Path) -> None:
    """Make the manifest say that the files are as they were exported."""
    edit_json(
        folder / MANIFEST_FILE, lambda values: values["files"].update(_digests(folder, values["files"]))
    )


def edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")


def edit_config(folder: Path, **values: Any) -> None:
    """Set keys of genai_config.json, wherever they are in it."""

    def change(config: Any) -> None:
        model = config["model"]
        for name, value in values.items():
            place = model["decoder"] if name in model["decoder"] else model
            assert name in place
            place[name] = value

    edit_json(folder / CONFIG_FILE, change)
    sign(folder)


def edit_graph(folder: Path, change: Callable[[onnx.ModelProto], Any]) -> None:
    model = onnx.load(folder / MODEL, load_external_data=False)
    change(model)
    onnx.save(model, folder / MODEL)
    sign(folder)


def flip_byte(folder: Path) -> None:
    """Change the lowest byte of one float: the model still runs, nearly as before."""
    data = bytearray((folder / DATA).read_bytes())
    data[len(data) // 2 // 4 * 4] ^= 1
    (folder / DATA).write_bytes(data)


def fill_with_nan(folder: Path) -> None:
    data = np.fromfile(folder / DATA, np.float32)
    data[len(data) // 2 :] = np.nan
    data.tofile(folder / DATA)
    sign(folder)


def forget(folder: Path, start: str) -> None:
    """Remove the files whose names begin so, from the manifest too: as if they had not been exported."""
    for file in folder.glob(f"{start}*"):
        file.unlink()
    edit_json(
        folder / MANIFEST_FILE,
        lambda values: values.update(
            files={name: digest for name, digest in values["files"].items() if not name.startswith(start)}
        ),
    )


def rename_output(folder: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        for value in model.graph.output:
            if value.name == "present.1.value":
                value.name = "other"
        for node in model.graph.node:
            for index, name in enumerate(node.output):
                if name == "present.1.value":
                    node.output[index] = "other"

    edit_graph(folder, change)


def set_opset(folder: Path, version: int) -> None:
    edit_graph(folder, lambda model: setattr(model.opset_import[0], "version", version))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _digests(folder: Path, names: Any) -> dict[str, str]:
    return {name: sha256_of(folder / name) for name in names if (folder / name).is_file()}
