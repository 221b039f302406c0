"""The environment in which ONNX Runtime's real CUDA provider runs over stand-ins for CUDA's libraries.

Real are the placement of nodes, the kernels' checks of types, sizes and arguments, bindings, copies, memory and the
capture of graphs. Kernels do nothing, so that what they should write is 0 or what was there before; times mean nothing.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

from tests.fetched import cached, pip_packages

__all__ = ["cuda_environment"]

ONNXRUNTIME = "onnxruntime-gpu==1.31.1"
HEADERS = ("nvidia-cuda-runtime==13.0.96", "nvidia-cuda-crt==13.0.88")
SOURCES = Path(__file__).parent / "cuda_runtime"
RUNTIME = "libcudart.so.13"
PRODUCTS = re.compile(r"gemm|LtMatmul$", re.IGNORECASE)
CREATES = re.compile(r"Create(_v2)?$")


def cuda_environment() -> dict[str, str]:
    """Return the environment variables; what they name is fetched and built first where it is not there yet."""
    packages = pip_packages(ONNXRUNTIME)
    provider = packages / "onnxruntime" / "capi" / "libonnxruntime_providers_cuda.so"
    digest = hashlib.sha256(ONNXRUNTIME.encode())
    for source in [Path(__file__), *sorted(SOURCES.iterdir())]:
        digest.update(source.read_bytes())
    libraries = cached(f"cuda-{digest.hexdigest()[:16]}", lambda folder: _build(provider, folder))
    return {"LD_LIBRARY_PATH": str(libraries), "PYTHONPATH": str(packages)}


def _build(provider: Path, folder: Path) -> None:
    """Build every library of CUDA's that the provider loads: the runtime from its sources, the others as names alone."""
    wanted = _wanted_symbols(provider)
    headers = next(path.parent for path in pip_packages(*HEADERS).glob("**/cuda_runtime_api.h"))
    sources = sorted(SOURCES.glob("*.c"))
    defined = set(re.findall(r"\b(\w+)\(", "".join(source.read_text() for source in sources)))
    rest = folder / "rest.c"
    rest.write_text(_stand_ins(wanted.pop(RUNTIME) - defined))
    _compile(folder, RUNTIME, [*sources, rest], [f"-I{headers}", "-pthread"])
    for library, names in wanted.items():
        source = folder / f"{library}.c"
        source.write_text(_stand_ins(names))
        _compile(folder, library, [source, folder / RUNTIME], [])


def _wanted_symbols(provider: Path) -> dict[str, set[str]]:
    """The symbols that the provider wants, by library of CUDA's; each of these is there, if only to be loaded."""
    loaded = re.findall(r"NEEDED.*\[(libcu\S+)\]", _output_of("readelf", "-d", str(provider)))
    wanted: dict[str, set[str]] = {library: set() for library in loaded}
    for name, version in re.findall(
        r"U (\w+)(?:@(\S+))?", _output_of("nm", "-D", "--undefined-only", str(provider))
    ):
        if version in wanted:
            wanted[version].add(name)
        elif re.match(r"cu[A-Z]", name):
            wanted["libcuda.so.1"].add(name)
    return wanted


def _stand_ins(names: set[str]) -> str:
    """Functions that succeed; those that create something return memory for it, and products are counted."""
    functions = ["#include <stdlib.h>", "void stand_in_product(void);"]
    for name in sorted(names):
        if CREATES.search(name):
            functions.append(f"int {name}(void **created) {{ *created = malloc(64); return 0; }}")
        else:
            count = "stand_in_product(); " if PRODUCTS.search(name) else ""
            functions.append(f"int {name}(void) {{ {count}return 0; }}")
    return "\n".join([*functions, ""])


def _compile(folder: Path, library: str, sources: list[Path], flags: list[str]) -> None:
    versions = folder / f"{library}.map"
    versions.write_text(f"{library} {{ global: *; }};\n")
    link = ["-shared", "-fPIC", f"-Wl,-soname,{library}", f"-Wl,--version-script={versions}"]
    subprocess.run(["gcc", "-O1", *link, *flags, *map(str, sources), "-o", str(folder / library)], check=True)


def _output_of(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
