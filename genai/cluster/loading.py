"""What a replica needs to know to find and load models, on whichever machine it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

from genai._version import __version__
from genai.config import RunOptions
from genai.errors import OptionError
from genai.folder import ModelFolder
from genai.generator import Generator
from genai.prepare import prepare_model
from genai.runtime.providers import preferred_provider

__all__ = ["ModelSource"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """How models are found and loaded; sent to the replicas.

    Args:
        find: Options of `prepare_model`.
        load: Options of `Generator`.
        version: The version of genai that the replicas must have.
    """

    find: Mapping[str, Any] = field(default_factory=dict)
    load: Mapping[str, Any] = field(default_factory=dict)
    version: str = __version__

    def with_threads(self, num_threads: int) -> Self:
        """Return the same with so many threads, unless it says how many."""
        if self.load.get("num_threads") is not None:
            return self
        return replace(self, load={**self.load, "num_threads": num_threads})

    def check_version(self) -> None:
        """See that this machine has the genai that the command has.

        Raises:
            OptionError: It has another.
        """
        if self.version != __version__:
            raise OptionError(
                f"this node has genai {__version__}, the command {self.version}: install the same on all nodes"
            )

    def folder(self, model: str) -> ModelFolder:
        """Find a model on this machine, downloaded and exported if it is not here yet.

        Raises:
            GenaiError: As `prepare_model` raises.
        """
        return prepare_model(model, provider=preferred_provider(self._runs), **self.find)

    @property
    def _runs(self) -> RunOptions:
        own = RunOptions.__annotations__
        return cast(RunOptions, {name: value for name, value in self.load.items() if name in own})

    def generator(self, folder: ModelFolder) -> Generator:
        """Load a model.

        Raises:
            GenaiError: As `Generator` raises.
        """
        return Generator(folder, **self.load)
