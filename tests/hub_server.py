"""A small server that speaks the hub's protocol, as huggingface_hub calls it: repositories in memory."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_a_token_that_may_write"
USER = "anna"
LFS_ENDINGS = (".safetensors", ".bin", ".onnx")


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    commits: list[str] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return hashlib.sha1(repr((sorted(self.files), len(self.commits))).encode()).hexdigest()


@dataclass
class Hub:
    """``fails`` maps a part of a path to the status that requests for it get, or to 0: the connection is cut."""

    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    fails: dict[str, int] = field(default_factory=dict)


class Handler(BaseHTTPRequestHandler):
    """Routes; ``hub`` is the server's."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def _handle(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append(f"{self.command} {path}")
        for part, status in self.hub.fails.items():
            if part in path:
                if not status:
                    self.close_connection = True
                    self.connection.close()
                    return
                self._answer({"error": "as the test wants it"}, status)
                return
        parts = path.strip("/").split("/")
        if path.startswith("/lfs/"):
            self._store(parts[1], body)
        elif len(parts) > 3 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), "/".join(parts[4:]))
        elif path.startswith("/api/models/") and self.command == "GET":
            self._look("/".join(parts[2:4]), parts[4:])
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "Invalid username or password."}, 401)
        elif path == "/api/whoami-v2":
            token = {"displayName": "test", "role": "write"}
            self._answer({"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": token}})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._validate(json.loads(body)["content"])
        elif path.startswith("/api/models/") and parts[4] == "preupload":
            files = [self._mode(one) for one in json.loads(body)["files"]]
            self._answer({"files": files})
        elif path.startswith("/api/models/") and parts[4] == "commit":
            self._commit("/".join(parts[2:4]), body)
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._batch(json.loads(body)["objects"])
        else:
            self._answer({"error": f"no such path: {path}"}, 404)

    def _create(self, wanted: dict[str, Any]) -> None:
        owner = wanted.get("organization") or USER
        name = f"{owner}/{wanted['name']}"
        if owner != USER:
            self._answer({"error": "You don't have the rights to create a model under this namespace"}, 403)
        elif name in self.hub.repositories:
            self._answer({"error": "You already created this model repo"}, 409)
        else:
            private = wanted.get("visibility") == "private" or wanted.get("private") is True
            self.hub.repositories[name] = Repository(private)
            self._answer({"url": f"{self.hub.url}/{name}", "name": name})

    def _validate(self, card: str) -> None:
        try:
            facts = yaml.safe_load(card.split("---")[1])
            wrong = [] if isinstance(facts, dict) else [{"message": "no facts"}]
        except yaml.YAMLError as error:
            wrong = [{"message": str(error)}]
        self._answer({"errors": wrong, "warnings": []}, 400 if wrong else 200)

    def _mode(self, wanted: dict[str, Any]) -> dict[str, Any]:
        large = wanted["path"].endswith(LFS_ENDINGS)
        mode = "lfs" if large else "regular"
        return {"path": wanted["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}

    def _batch(self, wanted: list[dict[str, Any]]) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}", "header": {}}}}
            for one in wanted
        ]
        self._answer({"transfer": "basic", "objects": objects})

    def _store(self, oid: str, body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self._answer({"error": "another hash"}, 422)
            return
        self.hub.objects[oid] = body
        self._answer({})

    def _commit(self, name: str, body: bytes) -> None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                repository.commits.append(value["summary"])
            elif item["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                repository.files[value["path"]] = self.hub.objects[value["oid"]]
                repository.large.add(value["path"])
        url = f"{self.hub.url}/{name}/commit/{repository.sha}"
        self._answer({"commitUrl": url, "commitOid": repository.sha, "pullRequestUrl": None})

    def _look(self, name: str, further: list[str]) -> None:
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and TOKEN not in self.headers.get("Authorization", "")):
            self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif further[:1] == ["tree"]:
            self._answer([_described(path, content, repository) for path, content in repository.files.items()])
        else:
            files = [{"rfilename": path} for path in repository.files]
            known = {"id": name, "modelId": name, "sha": repository.sha, "private": repository.private}
            self._answer({**known, "siblings": files, "tags": [], "downloads": 0, "likes": 0})

    def _file(self, name: str, path: str) -> None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif path not in repository.files:
            self._answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        else:
            content = repository.files[path]
            headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": repository.sha}
            self._send(content, 200, headers, "application/octet-stream")

    def _answer(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(content).encode(), status, headers or {}, "application/json")

    def _send(self, content: bytes, status: int, headers: dict[str, str], kind: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _described(path: str, content: bytes, repository: Repository) -> dict[str, Any]:
    described = {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    if path in repository.large:
        oid = hashlib.sha256(content).hexdigest()
        described["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 130}
    return described


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    Handler.hub = hub
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
