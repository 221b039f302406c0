"""`genai providers`: what this machine can run on, what the rest lacks, and what of a model runs where."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genai.cli.command import command
from genai.cli.options import JsonFlag
from genai.cli.output import format_bytes, format_table, print_json, print_note, print_result

if TYPE_CHECKING:
    from genai.runtime import ProviderStatus
    from genai.runtime.placement import Placement

__all__ = ["hardware_in_words", "providers", "statuses_as_json"]


@command("genai providers", "genai providers --json", "genai providers --check ./model")
def providers(
    *,
    check: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Tell which of a model folder's nodes run where.")
    ] = None,
    provider_library: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Plug-in library of an execution provider to include.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """List what this machine can run on.

    Execution providers with their devices, or what is missing; `--provider auto` takes the one that says so.
    """
    from genai.runtime import provider_statuses
    from genai.runtime.providers import preferred_provider

    statuses = provider_statuses(library=provider_library)
    if check is not None:
        _check(check, statuses, provider_library, json=json)
        return
    auto = preferred_provider({"provider_library": provider_library})
    if json:
        print_json({"auto": auto, "providers": statuses_as_json(statuses)})
    else:
        rows = [_row(status, auto) for status in statuses]
        print_result(format_table(["PROVIDER", "AVAILABLE", "PACKAGE", "DEVICES, OR WHY NOT"], rows))


def statuses_as_json(statuses: list[ProviderStatus]) -> list[dict[str, Any]]:
    """Return providers as JSON has them."""
    from genai.runtime.providers.hardware import provider_hardware

    return [
        {
            "name": status.provider.name,
            "ort_name": status.provider.ort_name,
            "available": status.available,
            "reason": status.reason,
            "repair": status.repair,
            "package": status.package or status.provider.plugin or status.provider.build,
            "version": status.version,
            "devices": [dataclasses.asdict(each) for each in provider_hardware(status)],
            "tested": status.provider.tested,
        }
        for status in statuses
    ]


def hardware_in_words(status: ProviderStatus) -> str:
    """Return the names of an available provider's devices, with their memory, and which are no hardware."""
    from genai.runtime.providers.hardware import SOFTWARE_ADAPTER, provider_hardware

    return "; ".join(
        each.name
        + (f" ({SOFTWARE_ADAPTER})" if each.kind == SOFTWARE_ADAPTER else "")
        + (f", {format_bytes(each.memory_bytes)}" if each.memory_bytes else "")
        for each in provider_hardware(status)
    )


def _row(status: ProviderStatus, chosen: str) -> list[str]:
    name = status.provider.name
    if status.available:
        detail = hardware_in_words(status) or status.reason
    else:
        detail = "; ".join(filter(None, (status.reason, status.repair)))
    return [
        f"{name} (auto)" if name == chosen else name,
        "yes" if status.available else "no",
        " ".join(filter(None, (status.package, status.version))),
        detail,
    ]


def _check(path: Path, statuses: list[ProviderStatus], library: Path | None, *, json: bool) -> None:
    """Print how many of a folder's nodes run on each of the available providers."""
    from genai.errors import GenaiError
    from genai.folder import ModelFolder
    from genai.runtime.placement import describe_left
    from genai.runtime.placement_check import check_placement

    rows: list[list[str]] = []
    values: list[dict[str, Any]] = []
    notes: list[str | None] = [_missing(path, statuses)]
    for status in statuses:
        if not status.available:
            continue
        provider = status.provider
        folder = ModelFolder.load(path, provider=provider.name)
        try:
            placement = check_placement(folder, provider.name, provider_library=library)
        except GenaiError as error:
            rows.append([provider.name, "", "", "", f"does not load: {error}"])
            values.append({"name": provider.name, "error": str(error)})
            continue
        note = describe_left(placement, provider, folder)
        notes.append(note)
        values.append({"name": provider.name, **_placement_as_json(placement), "note": note})
        left = placement.left_to_cpu(provider)
        rows.append(
            [
                provider.name,
                str(placement.num_nodes - left.total()),
                str(left.total()),
                str(placement.num_size_nodes),
                ", ".join(f"{count} {name}" for name, count in left.most_common()),
            ]
        )
    if json:
        print_json({"folder": str(path), "note": notes[0], "providers": values})
        return
    print_result(format_table(["PROVIDER", "NODES ON IT", "ON THE CPU", "FOR SIZES", "WHICH"], rows))
    for note in filter(None, notes):
        print_note(note)


def _missing(path: Path, statuses: list[ProviderStatus]) -> str | None:
    """Say that what a folder was made for is not here; None if it is, or nobody knows what that was."""
    from genai.folder import ModelFolder

    manifest = ModelFolder.load(path).manifest
    for status in statuses:
        if manifest is not None and status.provider.name == manifest.provider and not status.available:
            return f"{path} was made for {manifest.provider}, which is not available here: {status.reason}"
    return None


def _placement_as_json(placement: Placement) -> dict[str, Any]:
    return {
        "nodes": {name: dict(counter) for name, counter in placement.operators.items()},
        "size_nodes": placement.num_size_nodes,
    }
