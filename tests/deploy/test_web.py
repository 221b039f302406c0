"""The page that `genai export --web` writes: what is in it, and that Chromium chats as genai does."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from genai import Generator, Message
from genai.deploy import write_web_page
from genai.deploy.web_libraries import LIBRARIES
from genai.errors import ExportError, ModelFolderError, OptionError
from genai.folder import ModelFolder
from tests.deploy.chromium import SOFTWARE_GPU, Page, open_page
from tests.deploy.conftest import Answer
from tests.deploy.packages import web_packages


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def demo(demo_folder: Path) -> ModelFolder:
    return ModelFolder.load(demo_folder)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, demo_folder: Path) -> Iterator[str]:
    """The address of the demo model's page."""
    folder = tmp_path_factory.mktemp("web") / "site"
    write_web_page(ModelFolder.load(demo_folder), folder, libraries=web_packages())
    with served(folder) as address:
        yield address


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder's files, and yield the address."""
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


COUNT_DISPATCHES = """
globalThis.numDispatches = 0;
const original = globalThis.GPUComputePassEncoder?.prototype.dispatchWorkgroups;
if (original) GPUComputePassEncoder.prototype.dispatchWorkgroups = function (...sizes) {
  globalThis.numDispatches++;
  return original.apply(this, sizes);
};
"""


def ask(page: Page, question: str) -> list[str]:
    """Ask as a person does; return the texts of all messages then."""
    page.evaluate(f"document.getElementById('question').value = {json.dumps(question)}")
    page.evaluate("document.getElementById('form').requestSubmit()")
    page.wait_for("!document.getElementById('send').disabled")
    return list(page.evaluate("[...document.querySelectorAll('.message')].map((m) => m.textContent)"))


@pytest.mark.deploy
@pytest.mark.parametrize("provider", ["wasm", "webgpu"])
def test_a_browser_answers_what_genai_answers(
    provider: str, site: str, answers: list[Answer], tmp_path: Path
) -> None:
    with open_page(tmp_path, SOFTWARE_GPU if provider == "webgpu" else ()) as page:
        page.go_to(f"{site}/?provider={provider}", first=COUNT_DISPATCHES)
        page.wait_for("document.getElementById('send')")
        page.wait_for("!document.getElementById('send').disabled || document.querySelector('.error')")
        assert page.evaluate("document.getElementById('status').textContent") == f"Ready, on {provider}"
        for answer in answers:
            page.evaluate("document.getElementById('clear').click()")
            assert ask(page, answer.question) == [answer.question, answer.text]
        num_tokens = sum(len(answer.token_ids) for answer in answers)
        num_dispatches = page.evaluate("numDispatches")
        # Each of three layers has four products, attention, two norms and an activation.
        assert num_dispatches >= 24 * num_tokens if provider == "webgpu" else num_dispatches == 0
        loaded = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert all(name.startswith((site, "blob:", "data:")) for name in loaded), loaded  # no network


@pytest.mark.deploy
def test_a_conversation_goes_on(site: str, tmp_path: Path) -> None:
    """The second turn runs on the first one's cache, and is answered as genai answers it."""
    questions = ["hello", "what is a kv cache?"]
    messages: list[Message] = []
    with Generator("demo", offline=True) as generator:
        for question in questions:
            messages.append(Message("user", question))
            messages.append(Message("assistant", generator.chat(messages, do_sample=False).text))
    with open_page(tmp_path) as page:
        page.go_to(f"{site}/?provider=wasm")
        page.wait_for("document.getElementById('send')?.disabled === false")
        for question in questions:
            shown = ask(page, question)
    assert shown == [message.content for message in messages]


@pytest.mark.deploy
def test_float16_runs_on_webassembly_where_the_gpu_has_none(
    model_folder: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    """SwiftShader has no shader-f16: opening a session there succeeds, and its first run fails."""
    _, path = model_folder("llama", precision="fp16")
    copy = shutil.copytree(path, tmp_path / "model")
    (copy / "generation_config.json").write_text('{"max_new_tokens": 12}')
    with Generator(copy, provider="cpu") as generator:
        expected = generator.chat([Message("user", "hello")], do_sample=False).text
    write_web_page(ModelFolder.load(copy), tmp_path / "site", libraries=web_packages())
    with served(tmp_path / "site") as address, open_page(tmp_path / "profile", SOFTWARE_GPU) as page:
        page.go_to(address)
        page.wait_for("document.getElementById('send')?.disabled === false")
        assert page.evaluate("document.getElementById('status').textContent") == "Ready, on wasm"
        assert ask(page, "hello") == ["hello", expected]
        page.go_to(f"{address}/?provider=webgpu")
        page.wait_for("document.querySelector('.error')")
        assert "shader-f16" in page.evaluate("document.getElementById('status').textContent")


@pytest.mark.deploy
def test_what_cannot_be_loaded_is_said(site: str, tmp_path: Path) -> None:
    with open_page(tmp_path) as page:
        page.go_to(f"{site}/?provider=abacus")
        page.wait_for("document.querySelector('.error')")
        assert "abacus" in page.evaluate("document.getElementById('status').textContent")


def test_the_page_loads_tested_versions_from_a_cdn_where_no_libraries_are_given(
    demo: ModelFolder, tmp_path: Path
) -> None:
    write_web_page(demo, tmp_path / "site")
    page = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    found = json.loads(re.findall(r'<script type="importmap">(.*?)</script>', page, re.DOTALL)[0])["imports"]
    assert set(found) == {name for library in LIBRARIES for name in library.modules}
    for library in LIBRARIES:
        for name in library.modules:
            assert f"/{library.package}@{library.version}/" in found[name]


def test_the_model_in_the_page_is_the_model(demo: ModelFolder, tmp_path: Path) -> None:
    write_web_page(demo, tmp_path / "site")
    for file in demo.path.iterdir():
        assert (tmp_path / "site" / "model" / file.name).read_bytes() == file.read_bytes()
    settings = json.loads((tmp_path / "site" / "settings.json").read_text(encoding="utf-8"))
    assert settings["graph"] == "model.onnx"
    assert settings["dataFiles"] == ["model.onnx.data"]
    assert settings["eosTokenIds"] == [2]
    assert settings["maxNewTokens"] == 128
    assert settings["states"][0] == "present.0.key"


def test_a_page_is_replaced_only_if_asked_and_only_by_a_page(demo: ModelFolder, tmp_path: Path) -> None:
    site = tmp_path / "site"
    write_web_page(demo, site)
    with pytest.raises(ExportError, match="exists already"):
        write_web_page(demo, site)
    (site / "chat.js").unlink()
    write_web_page(demo, site, overwrite=True)
    assert (site / "chat.js").is_file()
    other = tmp_path / "other"
    other.mkdir()
    (other / "index.html").write_text("somebody's")
    with pytest.raises(ExportError, match="overwriting would remove all"):
        write_web_page(demo, other, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "site"]


def test_missing_libraries_are_named_with_the_command_that_installs_them(
    demo: ModelFolder, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=r"onnxruntime-web/dist/.*`npm install"):
        write_web_page(demo, tmp_path / "site", libraries=tmp_path)
    assert not (tmp_path / "site").exists()


def test_a_folder_without_a_chat_template_is_refused(
    model_folder: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    _, path = model_folder("llama")
    copy = shutil.copytree(path, tmp_path / "model")
    (copy / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(ModelFolderError, match=r"chat_template\.jinja is missing"):
        write_web_page(ModelFolder.load(copy), tmp_path / "site")


def test_the_model_s_name_is_text(demo: ModelFolder, tmp_path: Path) -> None:
    copy = shutil.copytree(demo.path, tmp_path / "<b>&$name")
    write_web_page(ModelFolder.load(copy), tmp_path / "site")
    assert "<h1>&lt;b&gt;&amp;$name</h1>" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
