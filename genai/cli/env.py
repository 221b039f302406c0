"""`genai env`: all that a bug report needs to say of the machine."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from importlib import metadata

from genai import __version__
from genai.cli.command import command
from genai.cli.options import JsonFlag
from genai.cli.output import format_bytes, print_json, print_result
from genai.cli.providers import hardware_in_words, statuses_as_json

__all__ = ["env"]

PREFIXES = ("GENAI_", "HF_", "ORT_", "ONNXRUNTIME_", "CUDA_", "OMP_", "VK_")
VARIABLES = ("LD_LIBRARY_PATH", "HTTPS_PROXY", "HTTP_PROXY", "NO_COLOR", "XDG_CACHE_HOME", "PYTHONPATH")
SECRET = re.compile(r"token|key|secret|password|auth|credential", re.IGNORECASE)
USER_IN_URL = re.compile(r"(?:(?<=://)|^)[^/\s]*@")
PACKAGES = ("numpy", "onnx", "onnx-ir", "ml_dtypes", "tokenizers", "huggingface-hub", "torch", "transformers")
HIDDEN = "***"


@command("genai env", "genai env --json")
def env(*, json: JsonFlag = False) -> None:
    """Print what a bug report needs: versions, machine, providers and settings; secrets are hidden."""
    from genai.runtime import provider_statuses
    from genai.runtime.installed import runtime_build, runtime_version
    from genai.runtime.providers.hardware import cpu_name, host_memory_bytes

    statuses = provider_statuses()
    variables = _variables(os.environ)
    packages = _versions()
    memory = host_memory_bytes()
    if json:
        print_json(
            {
                "genai": __version__,
                "python": sys.version.split()[0],
                "platform": platform.platform(),
                "cpu": cpu_name(),
                "cpu_threads": os.cpu_count(),
                "memory_bytes": memory,
                "onnxruntime": runtime_version(),
                "onnxruntime_build": runtime_build(),
                "packages": packages,
                "providers": statuses_as_json(statuses),
                "variables": variables,
            }
        )
        return
    facts = {
        "genai": __version__,
        "python": f"{sys.version.split()[0]} ({platform.python_implementation()})",
        "platform": platform.platform(),
        "cpu": f"{cpu_name()}, {os.cpu_count()} threads",
        "memory": format_bytes(memory) if memory else "unknown",
        "onnxruntime": f"{runtime_version()} ({runtime_build()})",
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
    }
    for status in statuses:
        if status.available or status.package is not None:
            came_with = " ".join(filter(None, (status.package, status.version)))
            state = hardware_in_words(status) or status.reason
            facts[f"provider {status.provider.name}"] = f"{state} ({came_with})"
    for name, value in variables.items():
        facts[f"${name}"] = value
    for name, value in facts.items():
        print_result(f"{name}: {value}")


def _variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that change what genai does, without anything secret.

    >>> _variables({"HF_TOKEN": "hf_abc", "HF_ENDPOINT": "https://me:pass@hub", "HOME": "/home/me"})
    {'HF_ENDPOINT': 'https://***@hub', 'HF_TOKEN': '***'}
    """
    return {
        name: HIDDEN if SECRET.search(name) else USER_IN_URL.sub(f"{HIDDEN}@", value)
        for name, value in sorted(environment.items())
        if name.startswith(PREFIXES) or name.upper() in VARIABLES
    }


def _versions() -> dict[str, str]:
    """Return the versions of installed packages: those that genai stands on, and all of ONNX Runtime's."""
    of_runtime = {
        distribution.name
        for distribution in metadata.distributions()
        if distribution.name.lower().startswith("onnxruntime")
    }
    found = {}
    for name in (*PACKAGES, *sorted(of_runtime)):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
