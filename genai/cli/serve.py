"""`genai serve`: models for other programs, over HTTP."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from genai.cli.command import EXIT_FAILED, command
from genai.cli.extras import needs_extra
from genai.cli.loading import prepare_folder
from genai.cli.options import CacheFlags, FolderFlags, MaxContext, RunFlags
from genai.cli.output import format_bytes, print_note
from genai.cli.progress import StageProgress
from genai.cli.quantities import parse_bytes, parse_seconds
from genai.cli.ray_options import RayFlags, cluster_extra, generator_options, model_source, on_any_node
from genai.errors import OptionError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from genai.cluster.loading import ModelSource
    from genai.folder import ModelFolder
    from genai.server import LoadLimits, ServerSettings
    from genai.server.traces import Traces

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
        typer.Option(
            metavar="FILE",
            help=f"Keys that may ask, one a line, KEY or NAME: KEY; # begins a comment. Or one in {KEY_VARIABLE}.",
        ),
    ] = None
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Web pages that may ask, as https://example.org; * is all."),
    ] = None
    max_requests: Annotated[
        int, typer.Option(min=1, help="Most requests that run or wait; more are told to come back.")
    ] = 256
    max_requests_per_key: Annotated[
        int | None, typer.Option(min=1, help="Most of these that one key, or keys of one name, may have.")
    ] = None
    log_texts: Annotated[
        bool, typer.Option("--log-texts", help="Log what is asked and answered, too, word for word.")
    ] = False
    keep_alive: Annotated[
        float | None,
        typer.Option(
            parser=parse_seconds,
            metavar="SECONDS",
            help="Let a model go that nobody has asked for so long, as 300 or 5m.",
        ),
    ] = None
    max_loaded: Annotated[
        int | None,
        typer.Option(
            min=1, help="Most models in memory; the one that was used longest ago goes for another."
        ),
    ] = None
    max_loaded_bytes: Annotated[
        int | None,
        typer.Option(
            parser=parse_bytes,
            metavar="BYTES",
            help="Most bytes that the models in memory are expected to take, as 2GB; one alone may take more.",
        ),
    ] = None
    traces: Annotated[
        bool,
        typer.Option("--traces", help="Send traces of requests where the environment's OTEL_* say."),
    ] = False


@command(
    "genai serve",
    "genai serve phi",
    "genai serve chat=phi code=./my-model --port 9000",
    "genai serve phi --ray --replicas 1:4",
)
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
    ray: RayFlags,
) -> None:
    """Answer other programs over HTTP, as others' servers do, and people on a page.

    Programs are given http://HOST:PORT/v1 as base URL of OpenAI's interface,
    or http://HOST:PORT as that of Anthropic's or Ollama's; the same in a
    browser is the page. Requests that arrive together run in one batch. A
    signal ends the server when what runs has ended, a second one at once. The
    log on stderr has a line of JSON for each request, and no texts unless
    --log-texts asks for them. With --ray replicas of the models answer, on
    other machines too, and requests of one conversation go to the same replica.
    """
    ray.check()
    if flags.traces and ray.ray:
        raise OptionError("--traces traces the requests of one process: leave it or --ray out")
    try:
        from genai.server import LoadLimits, ServerSettings, listen, log_to_stderr, run_server
    except ImportError as error:
        raise needs_extra("serving", "serve", error) from error
    from genai.runtime.providers import preferred_provider

    keys = _keys(flags.api_key_file)
    if flags.max_requests_per_key is not None and not keys:
        raise OptionError(f"--max-requests-per-key needs keys: --api-key-file, or {KEY_VARIABLE}")
    settings = ServerSettings(
        host=flags.host,
        api_keys=keys,
        allowed_origins=tuple(flags.allow_origin or ()),
        max_requests=flags.max_requests,
        max_requests_per_key=flags.max_requests_per_key,
        log_texts=flags.log_texts,
    )
    limits = LoadLimits(max_loaded=flags.max_loaded, max_bytes=flags.max_loaded_bytes)
    kept = _Kept(keep_alive=flags.keep_alive, limits=limits)
    named = _named(models or ["demo"])
    load = generator_options(caches, runs, max_context=max_context)
    with contextlib.ExitStack() as needed:
        # first of all, so that a port that is taken is told at once
        listening = needed.enter_context(listen(flags.host, flags.port))
        traces = needed.enter_context(_traces()) if flags.traces else None
        if ray.ray:
            app = needed.enter_context(_replicated(named, model_source(folders, load), settings, kept, ray))
        else:
            found = _find(named, folders, preferred_provider(runs.options))
            app = _in_this_process(found, load, settings, kept, traces)
        log_to_stderr()
        base = _base_url(flags.host, listening.getsockname()[1])
        print_note(f"{', '.join(named)}: {base}/v1 for programs, {base}/ for people")
        print_note(f"programs of Anthropic's or Ollama's interface take {base}")
        _warn(is_open=not settings.is_local and not keys, logs_texts=flags.log_texts)
        if not run_server(app, listening):
            raise typer.Exit(EXIT_FAILED)


def _warn(*, is_open: bool, logs_texts: bool) -> None:
    """Say last, where it is seen, who may ask and read more than may be meant."""
    if logs_texts:
        print_note(
            "warning: the log has what people ask and are answered: mind who can read it, and for how long it is kept"
        )
    if is_open:
        print_note(
            f"warning: others on the network may ask without a key: name keys with --api-key-file or {KEY_VARIABLE}"
        )


def _base_url(host: str, port: int) -> str:
    """Return an address that programs of this machine can open."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


class _Kept(TypedDict):
    """How long models are kept, and how many together."""

    keep_alive: float | None
    limits: LoadLimits


def _in_this_process(
    found: Mapping[str, ModelFolder],
    load: Mapping[str, Any],
    settings: ServerSettings,
    kept: _Kept,
    traces: Traces | None,
) -> FastAPI:
    """Return the application over models of this process, the first of them loaded."""
    from genai.server import ServedModels, make_app

    served = ServedModels.of_folders(found, load, **kept)
    for name, num_bytes in served.too_large.items():
        print_note(
            f"warning: {name} alone is expected to take {format_bytes(num_bytes)}, more than --max-loaded-bytes, and is loaded "
            "all the same"
        )
    served.load_default()
    return make_app(served, settings, traces=traces)


@contextlib.contextmanager
def _traces() -> Iterator[Traces]:
    """Give what traces requests; at the end of the block what was not sent is sent."""
    try:
        from genai.server.traces import Traces
    except ImportError as error:
        raise needs_extra("--traces", "otel", error) from error
    with contextlib.closing(Traces.from_environment()) as traces:
        yield traces


@contextlib.contextmanager
def _replicated(
    named: Mapping[str, str], source: ModelSource, settings: ServerSettings, kept: _Kept, ray: RayFlags
) -> Iterator[FastAPI]:
    """Run the models as replicas on a cluster until the block ends; give the application that asks them."""
    with cluster_extra():
        from genai.cluster.connection import connected
        from genai.cluster.deployment import ReplicaSettings, deployed, replica_application
        from genai.cluster.front import make_front
        from genai.cluster.replicas import Replicas

    fewest, most = ray.num_replicas
    replicas = ReplicaSettings(
        min_replicas=fewest, max_replicas=most, num_cpus=ray.replica_cpus, num_gpus=ray.replica_gpus or 0
    )
    models = {name: on_any_node(model) for name, model in named.items()}
    with connected(ray.ray_address):
        print_note("Ray begins 1 replica" if most == 1 else f"Ray begins {ray.replicas} replicas")
        with deployed(replica_application(models, source, settings, replicas, **kept)) as handle:
            yield make_front(Replicas(handle), settings)


def _find(named: Mapping[str, str], folders: FolderFlags, provider: str) -> dict[str, ModelFolder]:
    """Find all models, downloaded and exported as far as they have to be."""
    with StageProgress() as progress:
        return {name: prepare_folder(model, folders, provider, progress) for name, model in named.items()}


def _named(models: Sequence[str]) -> dict[str, str]:
    """Return models by the names that requests use: what stands before "=", or the last part of a path.

    Raises:
        OptionError: Two would have one name, or one has white space in it.
    """
    named: dict[str, str] = {}
    for given in models:
        name, is_named, model = given.partition("=")
        if not is_named or Path(given).exists():
            name, model = Path(given).resolve().name if Path(given).exists() else given, given
        if not name or not model:
            raise OptionError(f'"{given}" is not of the form NAME=MODEL')
        if any(map(str.isspace, name)):
            raise OptionError(f'the name "{name}" has white space: name the model as NAME=MODEL, without any')
        if name in named:
            raise OptionError(f'two models have the name "{name}": give one another as NAME=MODEL')
        named[name] = model
    return named


def _keys(path: Path | None) -> tuple[str, ...]:
    lines = [os.environ.get(KEY_VARIABLE, "")]
    if path is not None:
        try:
            given = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"{path}: the keys cannot be read: {error}") from error
        lines += [line for line in given if not line.lstrip().startswith("#")]
    keys = tuple(filter(None, (line.strip() for line in lines)))
    if path is not None and not keys:
        raise OptionError(f"{path} has no key: write one a line, or leave --api-key-file out")
    return keys
