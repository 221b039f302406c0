"""Opening the model that a command runs: found, downloaded and exported with progress on stderr."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from genai.cli.options import ModelFlags
from genai.cli.progress import StageProgress

if TYPE_CHECKING:
    from genai.generator import Generator

__all__ = ["open_generator"]


@contextlib.contextmanager
def open_generator(options: ModelFlags) -> Iterator[Generator]:
    """Load a model and free it when the block ends.

    Raises:
        GenaiError: As `Generator` raises.
    """
    from genai.generator import Generator

    with StageProgress() as progress:
        generator = Generator(
            options.model,
            provider=options.provider,
            device_id=options.device_id,
            max_context=options.max_context,
            num_threads=options.num_threads,
            revision=options.revision,
            offline=options.offline,
            precision=options.precision,
            variant=options.variant,
            progress=progress,
        )
    with generator:
        yield generator
