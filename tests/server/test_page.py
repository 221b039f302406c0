"""The page's files: what a browser is told about them, and that they are whole."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import Running

PAGE = Path(str(files("genai.server"))) / "page"
SERVED = [
    str(path.relative_to(PAGE)) for path in PAGE.rglob("*") if path.suffix in {".css", ".html", ".js", ".svg"}
]
MAX_BYTES = 330_000


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[httpx.Client]:
    with server.client as client:
        yield client


def test_a_browser_may_load_and_ask_nothing_else(client: httpx.Client) -> None:
    for path in ("/", "/page/app.js"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"].split("; ")
        assert policy[0] == "default-src 'none'"
        assert {"script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"} <= set(policy)
        assert "require-trusted-types-for 'script'" in policy
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page/app.js", "text/javascript; charset=utf-8"),
        ("/page/style/base.css", "text/css; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml; charset=utf-8"),
    ],
)
def test_media_types(client: httpx.Client, path: str, media_type: str) -> None:
    assert client.get(path).headers["content-type"] == media_type
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")


def test_a_file_is_sent_again_only_when_it_is_another(client: httpx.Client) -> None:
    first = client.get("/page/app.js")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/page/app.js", headers={"if-none-match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert client.get("/page/app.js", headers={"if-none-match": '"other"'}).content == first.content
    assert client.get("/").headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize(
    "name", ["none.js", "", "../app.py", "..%2fapp.py", "vendor/", "vendor/README.md", "/etc/passwd"]
)
def test_nothing_else_is_served(client: httpx.Client, name: str) -> None:
    assert client.get(f"/page/{name}").status_code == 404


def test_it_needs_no_key_and_what_it_asks_does(serve: Callable[..., Running]) -> None:
    with serve(api_keys=("key",)).client as client:
        assert client.get("/").status_code == 200
        assert client.get("/page/app.js").status_code == 200
        for path in ("/v1/models", "/pages", "/page"):
            assert client.get(path).status_code == 401


def test_whatever_it_names_is_there(client: httpx.Client) -> None:
    named = set(re.findall(r'(?:href|src)="(/page/[^"]+)"', client.get("/").text))
    for file in SERVED:
        text = (PAGE / file).read_text("utf-8")
        for name in re.findall(r'^import .*from "(\.[^"]+)";$', text, re.MULTILINE):
            named.add(
                "/page/" + str((PAGE / file).parent.joinpath(name).resolve().relative_to(PAGE.resolve()))
            )
    assert len(named) > 20
    assert {path for path in named if client.get(path).status_code != 200} == set()
    assert named >= {f"/page/{file}" for file in SERVED if file != "index.html"}, "a file that nothing names"


def test_its_size() -> None:
    assert sum((PAGE / file).stat().st_size for file in SERVED) < MAX_BYTES


def test_files_of_others_are_as_they_were_fetched() -> None:
    rows = re.findall(
        r"^\| (\S+\.js) \|.* `(\w+)` \|$", (PAGE / "vendor/README.md").read_text("utf-8"), re.MULTILINE
    )
    assert {name for name, _ in rows} == {path.name for path in (PAGE / "vendor").glob("*.js")}
    for name, digest in rows:
        assert hashlib.sha256((PAGE / "vendor" / name).read_bytes()).hexdigest() == digest
        assert (PAGE / "vendor" / f"{name}.LICENSE.txt").is_file()
