"""The page at `/`, on which people talk to the models: files of this package, which need no key and hold nothing secret.

A browser lets it load and ask nothing but this server, and turn no text into markup or code, whatever a model writes.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

__all__ = ["PAGE", "PAGE_FILES", "page_routes"]

PAGE, PAGE_FILES = "/", "/page/"

_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-cache",  # kept, but asked for again by its ETag: a newer server's page is seen at once
    "Content-Security-Policy": "; ".join(_POLICY),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_MEDIA_TYPES: Mapping[str, str] = {".js": "text/javascript", ".svg": "image/svg+xml"}
"""Those that a machine's own table may have otherwise."""
_NOTES = (".md", ".txt")
"""Files that are for readers of the package, not for browsers."""


@dataclass(frozen=True, slots=True)
class _PageFile:
    """A file as it is sent."""

    content: bytes
    media_type: str
    etag: str


def page_routes() -> APIRouter:
    """Return the routes of the page and its files, which are read now."""
    router = APIRouter(include_in_schema=False)
    served = dict(_read(files("genai.server").joinpath("page"), ""))

    @router.api_route(PAGE, methods=["GET", "HEAD"])
    async def page(request: Request) -> Response:
        return _response(served["index.html"], request)

    @router.api_route(PAGE_FILES + "{name:path}", methods=["GET", "HEAD"])
    async def page_file(request: Request, name: str) -> Response:
        if name not in served:
            raise HTTPException(404)
        return _response(served[name], request)

    return router


def _read(folder: Traversable, prefix: str) -> Iterator[tuple[str, _PageFile]]:
    """Yield all files of a folder under their paths in it."""
    for entry in folder.iterdir():
        name = prefix + entry.name
        if entry.is_dir():
            yield from _read(entry, f"{name}/")
        elif not name.endswith(_NOTES):
            content = entry.read_bytes()
            yield name, _PageFile(content, _media_type(name), f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _media_type(name: str) -> str:
    suffix = name[name.rindex(".") :]
    known = _MEDIA_TYPES.get(suffix) or mimetypes.types_map.get(suffix, "application/octet-stream")
    return f"{known}; charset=utf-8"


def _response(file: _PageFile, request: Request) -> Response:
    headers = {**_HEADERS, "ETag": file.etag}
    known = {each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")}
    if file.etag in known:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
