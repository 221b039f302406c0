"""Which providers can be used here, why not the others, and which to take."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from genai.config import RunOptions, provider_name
from genai.errors import GenaiError, OptionError, ProviderError, did_you_mean
from genai.runtime.installed import identity_model, runtime_version
from genai.runtime.ort import onnxruntime
from genai.runtime.providers.libraries import find_plugin, has_plugin, library_devices, register_library
from genai.runtime.providers.opening import CANNOT_LOAD, OPEN_ERRORS, open_session, quiet_options
from genai.runtime.providers.provider import Provider
from genai.runtime.providers.table import PROVIDERS, provider_of_library

__all__ = ["ProviderStatus", "choose_provider", "preferred_provider", "provider_statuses"]


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """Whether a provider can be used here, and if not, what to do about it.

    Args:
        provider: Which.
        available: Whether a session runs on it.
        reason: Why, or why not.
        repair: The command, or what else is to be done, that makes it available; None if it is, or nothing does.
        package: What it comes with: a plug-in's package, or the build of ONNX Runtime; None where it is not installed.
        version: The plug-in's, or ONNX Runtime's.
    """

    provider: Provider
    available: bool
    reason: str
    repair: str | None = None
    package: str | None = None
    version: str | None = None


def provider_statuses(*, library: str | Path | None = None) -> list[ProviderStatus]:
    """Return every known provider, in order of preference, with the reason where one is not available.

    Args:
        library: A plug-in library to register first; its providers come first.

    Raises:
        ProviderError: The library cannot be loaded, or has no device here.
    """
    first = _providers_of(library)
    rest = [provider for provider in PROVIDERS if provider not in first]
    return [_status(provider) for provider in (*first, *rest)]


def choose_provider(name: str, *, library: str | Path | None = None) -> list[Provider]:
    """Return the providers to try, best first: for "auto" all that may be taken, else the named one.

    Args:
        name: The provider, by genai's name or ONNX Runtime's, in any case, or "auto"; with a library, "auto" is the
            library's.
        library: A plug-in library to register first.

    Raises:
        OptionError: No provider has this name.
        ProviderError: It cannot be used here, or the library cannot be loaded.
    """
    wanted = provider_name(name)
    first = _providers_of(library)
    if wanted == "auto":
        return first or [p for p in PROVIDERS if p.auto and _status(p).available]
    known = {provider.name: provider for provider in (*PROVIDERS, *first)}
    if (provider := known.get(wanted)) is None:
        names = ["auto", *known]
        raise OptionError(
            f'unknown provider "{name}"; known: {", ".join(names)}.{did_you_mean(wanted, names)} '
            "Another one comes with its plug-in library, whose path is given as provider_library."
        )
    status = _status(provider)
    if not status.available:
        repair = f"; {status.repair}" if status.repair else ""
        raise ProviderError(f'provider "{provider.name}" is not available: {status.reason}{repair}')
    return [provider]


def preferred_provider(options: RunOptions) -> str:
    """Return the name of the provider that is tried first, by which a model's form or ONNX file is chosen.

    Raises:
        OptionError, ProviderError: As `choose_provider` raises.
    """
    return choose_provider(options.get("provider", "auto"), library=options.get("provider_library"))[0].name


def _providers_of(library: str | Path | None) -> list[Provider]:
    if library is None:
        return []
    names = register_library(library)
    if not names:
        raise ProviderError(f"the library {library} offers no device here: a device or its driver is missing")
    return [provider_of_library(name) for name in names]


def _status(provider: Provider) -> ProviderStatus:
    """Look for devices of registered and installed plug-ins, then in the build of ONNX Runtime."""
    if provider.plugin is not None and has_plugin(provider.plugin):
        try:
            register_library(find_plugin(provider.plugin))
        except GenaiError as error:
            return ProviderStatus(provider, False, str(error), provider.needs, provider.plugin)
    if devices := library_devices(provider.ort_name):
        package = provider.plugin or devices[0].ep_metadata["library_path"]
        version = devices[0].ep_metadata.get("version")
        return ProviderStatus(provider, True, "its plug-in offers a device", None, package, version)
    if provider.ort_name in onnxruntime.get_available_providers():
        return _status_of_build(provider)
    if provider.plugin is not None and has_plugin(provider.plugin):
        reason = f"its plug-in is installed and offers no device: {provider.needs}"
        version = metadata.version(provider.plugin)
        return ProviderStatus(provider, False, reason, None, provider.plugin, version)
    if provider.system not in (None, platform.system()):
        named = {"Darwin": "macOS"}.get(str(provider.system), provider.system)
        return ProviderStatus(provider, False, f"it runs on {named} only")
    reason = f"the installed ONNX Runtime was built without {provider.ort_name}"
    if provider.plugin is not None:
        reason = "its plug-in is not installed"
    return ProviderStatus(provider, False, reason, provider.install_command)


def _status_of_build(provider: Provider) -> ProviderStatus:
    """Look whether a session of one node can be made on a provider that the installed build has."""
    package, version = str(onnxruntime.package_name), runtime_version()
    if provider.name != "cpu":
        try:
            open_session(identity_model(), provider, quiet_options())
        except OPEN_ERRORS as error:
            why = str(error) if isinstance(error, ProviderError) else f"{CANNOT_LOAD}: {provider.needs}"
            return ProviderStatus(provider, False, why, provider.install_command, package, version)
    return ProviderStatus(provider, True, "the installed ONNX Runtime has it", None, package, version)
