"""Which of the providers that may run a decoder takes it: the session on it, in the form that suits its memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onnx import GraphProto, ModelProto

from genai.errors import ModelFolderError, OptionError, ProviderError
from genai.folder import ModelFolder
from genai.runtime.adapt import add_at_all_positions, narrow_outputs, take_positions
from genai.runtime.addressed_device import free_device_bytes
from genai.runtime.providers import PROVIDERS, Provider, open_session
from genai.runtime.providers.opening import OPEN_ERRORS
from genai.runtime.recorded_runs import DEVICE_GATE
from genai.runtime.session_options import provider_options

__all__ = ["first_that_works", "records_runs"]

logger = logging.getLogger("genai.runtime")

_CAPTURE_OPTIONS = frozenset(provider.capture_option for provider in PROVIDERS if provider.capture_option)
"""Options that are chosen here: a folder's own would have runs recorded that nobody replays."""

_HOST_OPERATORS = frozenset({"Compress", "If", "Loop", "NonZero", "Scan", "Unique"})
"""Those for which the host waits, to see how large a result is or what comes next: no run with one can be recorded."""


def first_that_works(
    candidates: Sequence[Provider],
    folder: ModelFolder,
    model: bytes,
    make_options: Callable[[], Any],
    device_id: int,
    *,
    may_record: bool = True,
) -> tuple[Provider, Any]:
    """Return the first provider that takes the model, with its session.

    Args:
        candidates: The providers, best first.
        folder: The model folder.
        model: Its adapted graph.
        make_options: Returns new session options, which a session changes.
        device_id: Which device of the provider.
        may_record: Whether the session may be one that records runs, and takes narrow outputs.

    Raises:
        OptionError: A provider has no such device.
        ProviderError: None takes it.
        ModelFolderError: The CPU alone was to take it.
    """
    failures = []
    for provider in candidates:
        if (reason := _too_large(folder, provider, device_id)) is not None:
            failures.append(f"{provider.name}: {reason}")
            continue
        chosen = provider_options(folder.decoder, provider.name)
        try:
            session = _open(provider, model, make_options, chosen, device_id, may_record=may_record)
        except OptionError:
            raise
        except OPEN_ERRORS as error:
            failures.append(f"{provider.name}: {error}")
            continue
        if failures:
            logger.warning("%s runs on %s: %s", folder.path, provider.name, "; ".join(failures))
        return provider, session
    problem = f"{folder.model_path} cannot be loaded: {'; '.join(failures)}"
    if all(provider.name == "cpu" for provider in candidates):
        raise ModelFolderError(problem + _precision_hint(folder))
    raise ProviderError(problem)


def records_runs(session: Any, provider: Provider) -> bool:
    """Whether a session records runs and replays them."""
    chosen = session.get_provider_options().get(provider.ort_name, {})
    return provider.capture_option is not None and chosen.get(provider.capture_option) == "1"


def _open(
    provider: Provider,
    model: bytes,
    make_options: Callable[[], Any],
    chosen: Mapping[str, str],
    device_id: int,
    *,
    may_record: bool,
) -> Any:
    """Return a session on a provider; one that records runs, if it may, the provider can and the graph lets it."""
    plain = {name: value for name, value in chosen.items() if name not in _CAPTURE_OPTIONS}

    def opened(model: bytes, further: Mapping[str, str]) -> Any:
        with DEVICE_GATE:
            return open_session(
                model, provider, make_options(), device_id=device_id, provider_options={**plain, **further}
            )

    if provider.memory not in ("addresses", "values") or not may_record:
        return opened(model, {})
    suited = ModelProto.FromString(model)
    add_at_all_positions(suited.graph)
    if provider.memory == "addresses":
        narrow_outputs(suited.graph)
    else:
        take_positions(suited.graph)
    model, option = suited.SerializeToString(), provider.capture_option
    if option is None or chosen.get(option, "1").lower() in ("0", "false"):
        return opened(model, {})
    reason = _hindrance(suited.graph, provider)
    if reason is None:
        try:
            return opened(model, {option: "1"})
        except OPEN_ERRORS as error:  # a node on the CPU does more than compute sizes: known only by trying
            reason = str(error)
    if option in chosen:
        logger.warning("no runs are recorded, although genai_config.json has %s: %s", option, reason)
    return opened(model, {})


def _hindrance(graph: GraphProto, provider: Provider) -> str | None:
    """Say why no run of a graph can be recorded: the host waits in it, or a place in the cache would be frozen.

    WebGPU's attention over a window begins, at every replay, where it began when it was recorded (0.4.0 of its plug-in).
    """
    if looked_into := sorted(_HOST_OPERATORS & {node.op_type for node in graph.node}):
        return f"the host waits for what {' and '.join(looked_into)} found"
    attributes = (each for node in graph.node for each in node.attribute)
    if provider.memory == "values" and any(a.name == "local_window_size" and a.i > 0 for a in attributes):
        return "a replay would not move the attention's window"
    return None


def _too_large(folder: ModelFolder, provider: Provider, device_id: int) -> str | None:
    """Say why a model's weights do not fit a device; `None` if they do, or nobody can tell."""
    free = free_device_bytes(provider.device_name, device_id)
    if free is None:
        return None
    graph = folder.model_path
    needed = sum(path.stat().st_size for path in graph.parent.glob(f"{graph.name}*"))
    if needed <= free:
        return None
    return (
        f"the weights take {needed / 2**20:,.0f} MiB, and {free / 2**20:,.0f} MiB are free on "
        f"{provider.device_name}:{device_id}: choose a smaller precision, or end what else runs there"
    )


def _precision_hint(folder: ModelFolder) -> str:
    manifest = folder.manifest
    if manifest is not None and manifest.float_type in ("bf16", "fp16"):
        return (
            f". The folder was made for {manifest.provider} and computes in {manifest.float_type}, which the CPU has not all "
            "kernels for: export with --provider cpu, and with --precision or --activations fp32"
        )
    return ""
