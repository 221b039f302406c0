"""A small model hub on loopback, with as much of huggingface.co's API as the real huggingface_hub client needs.

`serve()` starts one; the fixture `hub` in conftest.py points this process at it, `HubServer.environment` another.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

GOOD_TOKEN = "hf_good"


@dataclass
class Repo:
    """One repository: the files of each commit, and the commits of its branches and tags."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False


class HubServer:
    """A hub whose content and misbehaviour a test chooses.

    Attributes:
        url: Where it listens.
        repos: Repositories by "owner/name".
        requests: Every request as "METHOD /path", in order.
        truncate: Path in a repository → how many bytes of it the next GET sends before the connection breaks.
        slow: Path in a repository → seconds between each thousand bytes of it that are sent.
        fail_with: If set, every request is answered with this status.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.repos: dict[str, Repo] = {}
        self.requests: list[str] = []
        self.ranges: list[str] = []
        self.truncate: dict[str, int] = {}
        self.slow: dict[str, float] = {}
        self.fail_with: int | None = None

    def add(
        self,
        repo: str,
        files: Mapping[str, bytes | str] | Path,
        *,
        revision: str = "main",
        gated: bool = False,
    ) -> str:
        """Commit these files (or a folder's) to a branch of a repository, and return the commit's hash."""
        if isinstance(files, Path):
            files = {p.relative_to(files).as_posix(): p.read_bytes() for p in files.rglob("*") if p.is_file()}
        content = {name: data.encode() if isinstance(data, str) else data for name, data in files.items()}
        entry = self.repos.setdefault(repo, Repo(gated=gated))
        digest = hashlib.sha1(repo.encode(), usedforsecurity=False)
        for name in sorted(content):
            digest.update(name.encode() + b"\0" + content[name])
        commit = digest.hexdigest()
        entry.commits[commit] = content
        entry.refs[revision] = commit
        return commit

    def downloads(self) -> Counter[str]:
        """Count the GETs of each file, by its path in the repository."""
        gets = (re.fullmatch(r"GET /[^/]+/[^/]+/resolve/[^/]+/(.+)", request) for request in self.requests)
        return Counter(match[1] for match in gets if match)

    def environment(self, home: Path) -> dict[str, str]:
        """Return the environment variables that point another process here, with its caches under `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home / "huggingface"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "GENAI_HOME": str(home / "genai"),
        }


@contextlib.contextmanager
def serve() -> Iterator[HubServer]:
    """Run an empty hub on a free port for as long as the block lasts."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    httpd.daemon_threads = True
    httpd.hub = HubServer(f"http://127.0.0.1:{httpd.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield httpd.hub  # type: ignore[attr-defined]
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


@contextlib.contextmanager
def redirected(monkeypatch: Any, server: HubServer, home: Path) -> Iterator[HubServer]:
    """Point this process, where huggingface_hub has read its environment already, at the server."""
    from huggingface_hub import constants

    for name, value in server.environment(home).items():
        monkeypatch.setenv(name, value)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    point_at(monkeypatch, server.url)
    monkeypatch.setattr(constants, "HF_HOME", str(home / "huggingface"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "huggingface" / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "huggingface" / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield server


def point_at(monkeypatch: Any, url: str) -> None:
    """Change the hub's address in this process."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    _ROUTES = (
        (re.compile(r"/api/models/([^/]+/[^/]+)"), "_info"),
        (re.compile(r"/api/models/([^/]+/[^/]+)/revision/(.+)"), "_info"),
        (re.compile(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/(.+))?"), "_tree"),
        (re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)"), "_file"),
    )

    @property
    def hub(self) -> HubServer:
        return self.server.hub  # type: ignore[attr-defined,no-any-return]

    def log_message(self, *_args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def _route(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {unquote(path)}")
        if self.hub.fail_with is not None:
            return self._refuse(self.hub.fail_with, None)
        for pattern, method in self._ROUTES:
            if match := pattern.fullmatch(path):
                name, revision, *rest = [unquote(group) if group else group for group in match.groups()] + [
                    None
                ]
                return self._with_repo(method, name, revision, rest[0] if rest else None)
        return self._refuse(404, None)

    def _with_repo(self, method: str, name: str, revision: str | None, path: str | None) -> None:
        repo = self.hub.repos.get(name)
        if repo is None:
            return self._refuse(401, "RepoNotFound")  # as the hub does, to hide what is private
        allowed = self.headers.get("Authorization") == f"Bearer {GOOD_TOKEN}"
        if repo.gated and method == "_file" and not allowed:
            return self._refuse(401 if "Authorization" not in self.headers else 403, "GatedRepo")
        commit = repo.refs.get(revision or "main", revision)
        if commit not in repo.commits:
            return self._refuse(404, "RevisionNotFound")
        return getattr(self, method)(name, repo, commit, path)  # type: ignore[no-any-return]

    def _info(self, name: str, repo: Repo, commit: str, _path: str | None) -> None:
        siblings = [{"rfilename": path} for path in repo.commits[commit]]
        self._json(
            {"id": name, "modelId": name, "sha": commit, "private": False, "tags": [], "siblings": siblings}
        )

    def _tree(self, _name: str, repo: Repo, commit: str, under: str | None) -> None:
        self._json(
            [
                {"type": "file", "path": path, "size": len(data), "oid": _etag(data)}
                for path, data in repo.commits[commit].items()
                if under is None or path.startswith(under + "/")
            ]
        )

    def _file(self, _name: str, repo: Repo, commit: str, path: str) -> None:
        data = repo.commits[commit].get(path)
        if data is None:
            return self._refuse(404, "EntryNotFound")
        start = 0
        if requested := self.headers.get("Range"):
            start = int(re.fullmatch(r"bytes=(\d+)-", requested)[1])  # type: ignore[index]
            self.hub.ranges.append(f"{path} {start}-")
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{_etag(data)}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("X-Linked-Etag", f'"{_etag(data)}"')
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return None
        cut = self.hub.truncate.pop(path, None)
        self._send(data[start : None if cut is None else start + cut], self.hub.slow.get(path, 0))
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
        return None

    def _send(self, data: bytes, seconds: float) -> None:
        if not seconds:
            self.wfile.write(data)
            return
        for start in range(0, len(data), 1000):
            time.sleep(seconds)
            try:
                self.wfile.write(data[start : start + 1000])
            except OSError:
                return  # the client has gone

    def _json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str | None) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _etag(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
