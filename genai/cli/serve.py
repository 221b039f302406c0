"""`genai serve`: models for other programs, over HTTP."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genai.cli.command import command
from genai.cli.loading import prepare_folder
from genai.cli.options import CacheFlags, FolderFlags, MaxContext, RunFlags
from genai.cli.output import print_note
from genai.cli.progress import StageProgress
from genai.errors import OptionError

if TYPE_CHECKING:
    from genai.folder import ModelFolder
    from genai.generator import Generator

__all__ = ["serve"]

KEY_VARIABLE = "GENAI_API_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFlags:
    """Where a server listens, who may ask, and how much."""

    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is all of this machine's.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000
    api_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Keys that may ask, one a line; or one in {KEY_VARIABLE}."),
    ] = None
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Web pages that may ask, as https://example.org; * is all."),
    ] = None
    max_requests: Annotated[
        int, typer.Option(min=1, help="Most requests that run or wait; more are told to come back.")
    ] = 256
    keep_alive: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Let a model go that nobody has asked for so long."),
    ] = None
    max_loaded: Annotated[
        int | None,
        typer.Option(
            min=1, help="Most models in memory; the one that was used longest ago goes for another."
        ),
    ] = None
    max_loaded_bytes: Annotated[
        int | None,
        typer.Option(min=1, help="Most bytes that the models in memory are expected to take."),
    ] = None


@command("genai serve", "genai serve phi", "genai serve chat=phi code=./my-model --port 9000")
def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]MODEL...",
            help="Models by the names that requests use; the first answers requests that name none. The demo model if none.",
            show_default=False,
        ),
    ] = None,
    *,
    flags: ServerFlags,
    caches: CacheFlags,
    max_context: MaxContext = None,
    folders: FolderFlags,
    runs: RunFlags,
) -> None:
    """Answer other programs over HTTP, as OpenAI's servers do, and people on a page.

    Programs are given http://HOST:PORT/v1 as base URL; http://HOST:PORT/ in a
    browser is the page. Requests that arrive together run in one batch. A
    signal ends the server when what runs has ended, a second one at once. The
    log on stderr has a line of JSON for each request, and no texts.
    """
    try:
        from genai.server import LoadLimits, ServedModels, ServerSettings, listen, make_app, run_server
    except ImportError as error:
        raise OptionError(f'serving needs the "serve" extra ({error}): pip install "genai[serve]"') from error
    from genai.folder import MemoryNeed
    from genai.runtime.providers import preferred_provider

    keys = _keys(flags.api_key_file)
    settings = ServerSettings(
        host=flags.host,
        api_keys=keys,
        allowed_origins=tuple(flags.allow_origin or ()),
        max_requests=flags.max_requests,
    )

    def load(folder: ModelFolder) -> Generator:
        from genai.generator import Generator

        return Generator(
            folder,
            max_context=max_context,
            max_batch=caches.max_batch,
            kv_cache_bytes=caches.kv_cache_bytes,
            **runs.options,
        )

    with listen(flags.host, flags.port) as listening:  # first: a port that is taken is told at once
        found = _find(_named(models or ["demo"]), folders, preferred_provider(runs.options))
        limits = LoadLimits(max_loaded=flags.max_loaded, max_bytes=flags.max_loaded_bytes)
        sizes = {
            name: MemoryNeed.of_folder(folder).total_bytes(
                kv_cache_bytes=caches.kv_cache_bytes,
                max_context=max_context,
                has_copy=runs.options.get("optimize_for") != "memory",
            )
            for name, folder in found.items()
        }
        served = ServedModels.of_folders(found, load, keep_alive=flags.keep_alive, sizes=sizes, limits=limits)
        served.load_default()
        _log_to_stderr()
        if not settings.is_local and not keys:
            print_note(
                f"others on the network may ask without a key: name keys with --api-key-file or {KEY_VARIABLE}"
            )
        address = f"[{flags.host}]" if ":" in flags.host else flags.host
        base = f"http://{address}:{listening.getsockname()[1]}"
        print_note(f"{', '.join(served.names)}: {base}/v1 for programs, {base}/ for people")
        run_server(make_app(served, settings), listening)


def _find(named: Mapping[str, str], folders: FolderFlags, provider: str) -> dict[str, ModelFolder]:
    """Find all models, downloaded and exported as far as they have to be."""
    with StageProgress() as progress:
        return {name: prepare_folder(model, folders, provider, progress) for name, model in named.items()}


def _named(models: Sequence[str]) -> dict[str, str]:
    """Return models by the names that requests use: what stands before "=", or the last part of a path.

    Raises:
        OptionError: Two would have one name.
    """
    named: dict[str, str] = {}
    for given in models:
        name, is_named, model = given.partition("=")
        if not is_named or Path(given).exists():
            name, model = Path(given).resolve().name if Path(given).exists() else given, given
        if not name or not model:
            raise OptionError(f'"{given}" is not of the form NAME=MODEL')
        if name in named:
            raise OptionError(f'two models have the name "{name}": give one another as NAME=MODEL')
        named[name] = model
    return named


def _keys(path: Path | None) -> tuple[str, ...]:
    lines = [os.environ.get(KEY_VARIABLE, "")]
    if path is not None:
        try:
            lines += path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"{path}: the keys cannot be read: {error}") from error
    keys = tuple(filter(None, (line.strip() for line in lines)))
    if path is not None and not keys:
        raise OptionError(f"{path} has no key: write one a line, or leave --api-key-file out")
    return keys


def _log_to_stderr() -> None:
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("genai.server")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
