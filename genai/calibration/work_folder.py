"""Where a calibration keeps what it has done, so that one that was killed goes on where it was.

```
.<target>.calibration-<key>/
  losses.json        what each scheme of each group of matrices costs
  hidden.<i>.npy     the hidden states before layer i, the first that is not done
  layers.<i>/        what became of layer i: one .npy for each array
```
Everything is written under another name first. A layer's folder appears after the hidden states behind it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genai.calibration.parameters import Arrays, Floats
from genai.errors import ExportError

__all__ = ["WorkFolder", "remove_work"]

_LOSSES = "losses.json"


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """A calibration's folder, beside the model folder that it is for.

    Args:
        path: Where it is.
    """

    path: Path

    @classmethod
    def open(cls, target: Path, key: str) -> WorkFolder:
        """Return the folder of a target and a key, which says all that the results depend on; it may be there already.

        Raises:
            ExportError: The disk refuses.
        """
        path = target.parent / f"{_beginning(target)}{key}"
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ExportError(f"cannot write beside {target}: {error.strerror}") from error
        for left in path.glob("tmp*"):  # graphs of a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        return cls(path)

    def num_done(self) -> int:
        """Return how many of the first layers are done."""
        count = 0
        while (self.path / f"layers.{count}").is_dir():
            count += 1
        return count

    def read_hidden(self, index: int) -> Floats | None:
        """Return the hidden states before a layer; `None` if they are not known yet."""
        path = self.path / f"hidden.{index}.npy"
        return np.load(path) if path.is_file() else None

    def write_hidden(self, index: int, hidden: Floats) -> None:
        """Keep the hidden states before a layer."""
        self._write_array(self.path / f"hidden.{index}.npy", hidden)

    def read_losses(self) -> list[dict[str, Any]] | None:
        """Return what each scheme of each group of matrices costs, as `Choices` has it; `None` if that is not known yet."""
        path = self.path / _LOSSES
        return json.loads(path.read_text("utf-8")) if path.is_file() else None

    def write_losses(self, losses: Sequence[Mapping[str, Any]]) -> None:
        """Keep what each scheme of each group of matrices costs.

        Raises:
            ExportError: The disk refuses.
        """
        staging = self.path / f"partial-{_LOSSES}"
        try:
            staging.write_text(json.dumps(losses), "utf-8")
            staging.replace(self.path / _LOSSES)
        except OSError as error:
            raise ExportError(f"{self.path} cannot be written: {error.strerror or error}") from error

    def finish_layer(self, index: int, arrays: Arrays, hidden: Floats) -> None:
        """Keep what became of a layer, and the hidden states behind it instead of those before it.

        Raises:
            ExportError: The disk refuses.
        """
        try:
            self.write_hidden(index + 1, hidden)
            staging = Path(tempfile.mkdtemp(prefix="partial-", dir=self.path))
            for name, array in arrays.items():
                np.save(staging / f"{name}.npy", array)
            staging.replace(self.path / f"layers.{index}")
            (self.path / f"hidden.{index}.npy").unlink(missing_ok=True)
        except OSError as error:
            raise ExportError(f"{self.path} cannot be written: {error.strerror or error}") from error

    def finish_layers(
        self,
        num_layers: int,
        begin: Callable[[], Floats],
        run: Callable[[int, Floats], tuple[Arrays, Floats]],
        advance: Callable[[int], None],
    ) -> None:
        """Finish the layers that are not done yet, one after the other.

        Args:
            num_layers: How many there are.
            begin: Returns the hidden states before the first layer.
            run: From a layer's number and the hidden states before it to what becomes of it and those behind it.
            advance: Told how many are done, first when nothing has been run.

        Raises:
            ExportError: The disk refuses.
        """
        done = self.num_done()
        advance(done)
        if done == num_layers:
            return
        hidden = self.read_hidden(done)
        if hidden is None:
            hidden = begin()
        for index in range(done, num_layers):
            arrays, hidden = run(index, hidden)
            self.finish_layer(index, arrays, hidden)
            advance(index + 1)

    def read_layer(self, index: int) -> Mapping[str, NDArray[Any]]:
        """Return what became of a layer: mapped arrays by name."""
        files = sorted((self.path / f"layers.{index}").glob("*.npy"))
        return {file.name.removesuffix(".npy"): np.load(file, mmap_mode="r") for file in files}

    def _write_array(self, path: Path, array: NDArray[Any]) -> None:
        descriptor, name = tempfile.mkstemp(prefix="partial-", dir=self.path)
        with os.fdopen(descriptor, "wb") as file:
            np.save(file, array)
        Path(name).replace(path)


def remove_work(target: Path) -> None:
    """Remove all folders of a target, those that other settings have left too."""
    for other in target.parent.iterdir():
        if other.name.startswith(_beginning(target)):
            shutil.rmtree(other, ignore_errors=True)


def _beginning(target: Path) -> str:
    return f".{target.name}.calibration-"
