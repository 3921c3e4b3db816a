"""A small server on the loopback that speaks as much of the hub's protocol as a fetch at a pinned commit needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from types import TracebackType

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class HubServer:
    """Repositories by ("datasets" or "models", id), each a mapping of file name to content, at one commit.

    `pages` are plain files by path (a package index is one page of links and its archives).
    `requests` counts (method, path) of everything that was asked.
    """

    repositories: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    pages: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def record(self, method: str, path: str) -> None:
        with self._lock:
            self.requests[method, path] += 1

    def downloads(self, ending: str) -> int:
        """Say how often files whose path ends so were sent."""
        return sum(
            count for (method, path), count in self.requests.items() if method == "GET" and path.endswith(ending)
        )


@dataclass
class _Reply:
    status: int
    content: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def _error(status: int, code: str) -> _Reply:
    return _Reply(status, json.dumps({"error": code}).encode(), headers={"X-Error-Code": code, "X-Error-Message": code})


def _json(value: Any) -> _Reply:
    return _Reply(200, json.dumps(value).encode())


def _etag(name: str, content: bytes) -> str:
    """Large files are known by their SHA-256, others by a SHA-1."""
    digest = hashlib.sha256 if name.endswith((".safetensors", ".parquet", ".bin")) else hashlib.sha1
    return digest(content).hexdigest()


def _entry(name: str, content: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    if len(oid := _etag(name, content)) == 64:
        entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 130}
    return entry


def _folder(name: str) -> dict[str, Any]:
    return {"type": "directory", "path": name, "size": 0, "oid": hashlib.sha1(name.encode()).hexdigest()}


def _listing(files: dict[str, bytes], below: str, recursive: bool) -> list[dict[str, Any]]:
    prefix = f"{below}/" if below else ""
    entries = {}
    for name, content in files.items():
        if not name.startswith(prefix):
            continue
        parts = name.removeprefix(prefix).split("/")
        for depth in range(1, len(parts)):
            folder = prefix + "/".join(parts[:depth])
            if recursive or depth == 1:
                entries[folder] = _folder(folder)
        if recursive or len(parts) == 1:
            entries[name] = _entry(name, content)
    return list(entries.values())


def _paths(files: dict[str, bytes], wanted: list[str]) -> list[dict[str, Any]]:
    found = []
    for name in wanted:
        if name in files:
            found.append(_entry(name, files[name]))
        elif any(other.startswith(f"{name}/") for other in files):
            found.append(_folder(name))
    return found


def _api(hub: HubServer, parts: list[str], query: dict[str, list[str]], body: bytes) -> _Reply:
    """Answer api/<kind>/<owner>/<name>[/<what>/<revision>[/<path>]]."""
    kind, repository = parts[1], "/".join(parts[2:4])
    files = hub.repositories.get((kind, repository))
    if files is None:
        return _error(401, "RepoNotFound")
    if repository in hub.gated:
        return _error(403, "GatedRepo")
    what, revision, path = (parts[4:5] or [""])[0], (parts[5:6] or [COMMIT])[0], "/".join(parts[6:])
    if revision != COMMIT:
        return _error(404, "RevisionNotFound")
    if what == "tree":
        entries = _listing(files, path, query.get("recursive", ["false"])[0].lower() in ("1", "true"))
        return _json(entries) if entries or not path else _error(404, "EntryNotFound")
    if what == "paths-info":
        text = body.decode()
        wanted = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text)["paths"]
        return _json(_paths(files, wanted))
    if what in ("", "revision"):
        siblings = [{"rfilename": name} for name in files]
        return _json(
            {"id": repository, "sha": COMMIT, "siblings": siblings, "private": False, "gated": False, "tags": []}
        )
    return _error(404, "EntryNotFound")


def _resolve(hub: HubServer, parts: list[str]) -> _Reply:
    """Answer [datasets/]<owner>/<name>/resolve/<revision>/<path>."""
    kind = parts.pop(0) if parts[0] == "datasets" else "models"
    repository, revision, name = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
    files = hub.repositories.get((kind, repository))
    if files is None:
        return _error(401, "RepoNotFound")
    if repository in hub.gated:
        return _error(403, "GatedRepo")
    if revision != COMMIT:
        return _error(404, "RevisionNotFound")
    if name not in files:
        reply = _error(404, "EntryNotFound")
        reply.headers["X-Repo-Commit"] = COMMIT
        return reply
    headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{_etag(name, files[name])}"'}
    return _Reply(200, files[name], "application/octet-stream", headers)


def _answer(hub: HubServer, path: str, query: dict[str, list[str]], body: bytes) -> _Reply:
    if path in hub.pages:
        kind, content = hub.pages[path]
        return _Reply(200, content, kind)
    parts = unquote(path).strip("/").split("/")
    if parts[0] == "api" and len(parts) >= 4:
        return _api(hub, parts, query, body)
    if "resolve" in parts:
        return _resolve(hub, parts)
    return _error(404, "EntryNotFound")


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            hub.record(self.command, parts.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = _answer(hub, parts.path, parse_qs(parts.query), body)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(reply.content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.content)

        do_GET = do_HEAD = do_POST = _serve  # the names that http.server calls

        def log_message(self, format: str, *args: Any) -> None:
            """Keep quiet."""

    return Handler
