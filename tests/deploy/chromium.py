"""Headless Chromium, driven over a pipe by the DevTools protocol (https://chromedevtools.github.io/devtools-protocol)."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Page", "open_page"]

SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
"""Options that give pages WebGPU, computed on the CPU by SwiftShader."""


class Page:
    """A page of a browser."""

    def __init__(self, read: int, write: int) -> None:
        self._reader = os.fdopen(read, "rb")
        self._writer = os.fdopen(write, "wb", buffering=0)
        self._ids = itertools.count(1)
        self._session = None
        self.log: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Page", "Network", "Log"):
            self._call(f"{domain}.enable")

    def go_to(self, url: str, *, first: str = "") -> None:
        """Open an address, after running a script in its still empty page."""
        self._call("Page.addScriptToEvaluateOnNewDocument", source=first)
        self._call("Page.navigate", url=url)

    def screenshot(self) -> bytes:
        """Return what the page looks like, as a PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot")["data"])

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; a promise is waited for."""
        found = self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait_for(self, condition: str, *, seconds: float = 120) -> None:
        """Wait until a JavaScript expression is true."""
        poll = f"(async () => {{ const end = Date.now() + {seconds * 1000}; "
        poll += f"while (!({condition}) && Date.now() < end) await new Promise((r) => setTimeout(r, 50)); "
        poll += f"return Boolean({condition}); }})()"
        assert self.evaluate(poll), (condition, self.evaluate("document.body.innerText"), self.log[-20:])

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._writer.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._read_message())
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.log.append(json.dumps(answer)[:1000])

    def _read_message(self) -> bytes:
        parts = bytearray()
        while (byte := self._reader.read(1)) != b"\0":
            assert byte, "the browser ended"
            parts += byte
        return bytes(parts)


@contextlib.contextmanager
def open_page(profile: Path, options: Sequence[str] = ()) -> Iterator[Page]:
    """Open a browser with an empty page; skip the test where there is none."""
    browser = os.environ.get("GENAI_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("Chromium is not installed; GENAI_CHROMIUM names its program where it is not on the PATH")
    from_test, to_test = os.pipe(), os.pipe()
    command = [
        *(browser, "--headless=new", "--no-sandbox", "--remote-debugging-pipe", f"--user-data-dir={profile}"),
        *("--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage", *options),
    ]
    # The browser reads commands from descriptor 3 and writes answers to 4.
    shell = f'exec "$@" 3<&{from_test[0]} 4>&{to_test[1]}'
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", *command],
        pass_fds=(from_test[0], to_test[1]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(from_test[0])
    os.close(to_test[1])
    try:
        page = Page(to_test[0], from_test[1])
        try:
            yield page
        finally:
            page.close()
    finally:
        process.terminate()
        process.wait(20)
