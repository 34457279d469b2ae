"""A loopback hub: serves local folders as repositories to the real clients of huggingface_hub and datasets.

The clients read `HF_ENDPOINT` and `HF_HOME` when they are imported, so whatever talks to a `Hub` runs in a process of
its own, with `Hub.environment` in its environment.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

Kind = Literal["model", "dataset"]
COMMIT = hashlib.sha1(b"the only revision").hexdigest()


@dataclass(frozen=True)
class Hub:
    """A running hub. `requests` holds the method and path of each request it was asked."""

    endpoint: str
    requests: list[str] = field(default_factory=list)

    def environment(self, home: Path) -> dict[str, str]:
        """What a client's process needs in its environment to talk to this hub, with its cache in `home`."""
        return {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}


@contextmanager
def serve(repositories: Mapping[tuple[Kind, str], Path]) -> Iterator[Hub]:
    """Serve folders by (kind, id) on a port of the loopback interface until the block ends."""
    requests: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, repositories, requests))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Hub(f"http://127.0.0.1:{server.server_address[1]}", requests)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class _Repository:
    name: str
    folder: Path

    def files(self) -> list[str]:
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())

    def describe(self) -> dict[str, Any]:
        return {
            "id": self.name,
            "sha": COMMIT,
            "private": False,
            "gated": False,
            "disabled": False,
            "tags": [],
            "siblings": [{"rfilename": name} for name in self.files()],
        }

    def entry(self, name: str) -> dict[str, Any] | None:
        path = self.folder / name
        if path.is_dir():
            return {"type": "directory", "path": name, "size": 0, "oid": COMMIT}
        if path.is_file():
            oid = hashlib.sha1(path.read_bytes()).hexdigest()
            return {"type": "file", "path": name, "size": path.stat().st_size, "oid": oid}
        return None

    def tree(self, under: str, recursive: bool) -> list[dict[str, Any]] | None:
        root = self.folder / under
        if not root.is_dir():
            return None
        paths = sorted(root.rglob("*") if recursive else root.iterdir())
        entries = [self.entry(path.relative_to(self.folder).as_posix()) for path in paths]
        return [entry for entry in entries if entry]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, repositories: Mapping[tuple[Kind, str], Path], requests: list[str], *args: Any) -> None:
        self.repositories = repositories
        self.requests = requests
        super().__init__(*args)  # handles the request before it returns

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.requests.append(f"{self.command} {path}")
        if found := re.fullmatch(r"/api/(model|dataset)s/([^/]+/[^/]+)(?:/revision/[^/]+)?", path):
            self._answer(self._repository(found), lambda repository: repository.describe())
        elif found := re.fullmatch(r"/api/(model|dataset)s/([^/]+/[^/]+)/tree/[^/]+/?(.*)", path):
            recursive = parse_qs(url.query).get("recursive", ["false"])[0].lower() == "true"
            under = found[3]
            self._answer(self._repository(found), lambda repository: repository.tree(under, recursive))
        elif found := re.fullmatch(r"/(?:(dataset)s/)?([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            self._file(self._repository(found), found[3])
        else:
            self._missing("EntryNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        path = unquote(urlsplit(self.path).path)
        self.requests.append(f"POST {path}")
        if found := re.fullmatch(r"/api/(model|dataset)s/([^/]+/[^/]+)/paths-info/[^/]+", path):
            wanted = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body).get("paths", [])
            names = [wanted] if isinstance(wanted, str) else wanted
            self._answer(
                self._repository(found),
                lambda repository: [entry for name in names if (entry := repository.entry(name))],
            )
        else:
            self._missing("EntryNotFound")

    def _repository(self, found: re.Match[str]) -> _Repository | None:
        kind: Kind = "dataset" if found[1] == "dataset" else "model"
        folder = self.repositories.get((kind, found[2]))
        return None if folder is None else _Repository(found[2], folder)

    def _answer(self, repository: _Repository | None, content: Any) -> None:
        if repository is None:
            return self._missing("RepoNotFound")
        answer = content(repository)
        if answer is None:
            return self._missing("EntryNotFound")
        return self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _file(self, repository: _Repository | None, name: str) -> None:
        if repository is None:
            return self._missing("RepoNotFound")
        if name not in repository.files():
            return self._missing("EntryNotFound")
        data = (repository.folder / name).read_bytes()
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        if span := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(span[1]), min(int(span[2] or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return self._send(206, data[first : last + 1], headers)
        return self._send(200, data, headers)

    def _missing(self, code: str) -> None:
        self._send(404, b"{}", {"X-Error-Code": code, "X-Repo-Commit": COMMIT})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: `Hub.requests` keeps what was asked."""
