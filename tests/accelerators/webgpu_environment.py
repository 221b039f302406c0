"""The environment in which ONNX Runtime's WebGPU plug-in runs on SwiftShader, a Vulkan driver for the CPU.

Kernels, device memory and numbers are real; times mean nothing. SwiftShader and a Vulkan loader come with Debian's
Chromium, whose package is unpacked, not installed.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.fetched import cached, pip_packages

__all__ = ["webgpu_environment"]

PLUGIN = "onnxruntime-ep-webgpu==0.4.0"
DEBIAN_PACKAGE = "chromium-common"
FILES = ("libvk_swiftshader.so", "vk_swiftshader_icd.json", "libvulkan.so.1")


def webgpu_environment() -> dict[str, str]:
    """Return the environment variables; what they name is fetched first where it is not there yet."""
    driver = cached("swiftshader", _fetch_swiftshader)
    return {
        "PYTHONPATH": str(pip_packages(PLUGIN)),
        "LD_LIBRARY_PATH": str(driver),
        "VK_DRIVER_FILES": str(driver / "vk_swiftshader_icd.json"),
        "XDG_RUNTIME_DIR": str(cached("runtime", lambda folder: folder.chmod(0o700))),
        "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER": "1",
    }


def _fetch_swiftshader(folder: Path) -> None:
    """Take the driver and the loader out of Debian's package."""
    subprocess.run(["apt-get", "download", "-qq", DEBIAN_PACKAGE], cwd=folder, check=True)
    (package,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "--extract", str(package), str(folder / "unpacked")], check=True)
    for name in FILES:
        (folder / "unpacked/usr/lib/chromium" / name).rename(folder / name)
    package.unlink()
    shutil.rmtree(folder / "unpacked")
