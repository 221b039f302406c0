"""What genai knows of an execution provider, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from genai.config import PROVIDER_FORMS

__all__ = ["Memory", "Provider", "Tested"]

Memory = Literal["host", "fed", "addresses", "values"]
"""Where a provider reads inputs and writes outputs:

- "host": in the host's memory, in place;
- "fed": in memory of its own that is filled from the host's at every run: right on any provider, and slow;
- "addresses": in its own, where rows of a buffer are views at an address;
- "values": in its own, of which only whole values can be had.
"""

Tested = Literal["tested here", "tested over stand-ins", "written from the documentation, untested"]
"""How genai's own tests cover a provider: its kernels run, only its placement and copies do, or nothing does."""


@dataclass(frozen=True, slots=True)
class Provider:
    """An execution provider as genai uses it.

    Args:
        name: What users call it.
        ort_name: What ONNX Runtime calls it.
        memory: Where it reads and writes.
        tested: How it is tested.
        device_name: What ONNX Runtime's IOBinding calls its memory, where that is its own.
        build: The package of ONNX Runtime that has it built in, as pip takes it.
        plugin: The package that adds it to any build of ONNX Runtime.
        options: Provider options beside the device's id.
        session_entries: Entries of the session's configuration, where a folder does not say otherwise.
        companions: Providers that take the nodes that it leaves, before the CPU does.
        takes_device_id: Whether it has several devices to choose from.
        auto: Whether `auto` may take it.
        capture_option: Its option that makes it record runs and replay them, if it can.
        continues_prompts: Whether its attention takes several tokens behind a past; elsewhere a prompt whose beginning has
            run, or is cached, runs again from its beginning.
        needs_gpu: Whether it runs on GPUs alone, so that a plug-in's device that is the CPU plays one.
        needs: What is missing, most likely, where it is installed and finds no device.
        system: The only system that it runs on, as `platform.system()` calls it.
    """

    name: str
    ort_name: str
    memory: Memory
    tested: Tested
    device_name: str = "cpu"
    build: str | None = None
    plugin: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    session_entries: Mapping[str, str] = field(default_factory=dict)
    companions: tuple[str, ...] = ()
    takes_device_id: bool = True
    auto: bool = False
    capture_option: str | None = None
    continues_prompts: bool = True
    needs_gpu: bool = False
    needs: str = "a device, driver or library is missing"
    system: str | None = None

    @property
    def copies_at_bind(self) -> bool:
        """Whether inputs of the host are copied when they are bound, so that every run needs a new binding."""
        return self.memory in ("fed", "values")

    @property
    def has_form(self) -> bool:
        """Whether folders can be exported for it."""
        return self.name in PROVIDER_FORMS

    @property
    def install_command(self) -> str | None:
        """What installs it, if pip can: beside the ONNX Runtime that is there, or in its place.

        >>> Provider("x", "XExecutionProvider", "fed", "tested here", build="onnxruntime-x").install_command
        'in an environment of its own: pip install "onnxruntime-x"'
        """
        if self.plugin is not None:
            return f'pip install "{self.plugin}"'
        if self.build is not None:
            return f'in an environment of its own: pip install "{self.build}"'
        return None

    def session_options(self, device_id: int) -> dict[str, str]:
        """Return the provider options for one device, where it is built in."""
        return {**self.options, **({"device_id": str(device_id)} if self.takes_device_id else {})}
