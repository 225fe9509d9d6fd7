"""Against a hub of this process's own, at its HTTP interface: what is asked for, kept, shown and said."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from safetensors.torch import load

from bench.core.errors import BenchError, UsageError
from bench.core.progress import Advance, Silent
from bench.core.store import hub as hub_client
from bench.core.store import room
from bench.harness.workload import TABLE, count_parameters, fetch_seconds
from bench.models.sources import resolve_model

N_PARAMETERS = 1_234_567
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Recorder:
    """A progress display that remembers."""

    def __init__(self) -> None:
        self.done = 0.0
        self.totals: list[float | None] = []
        self.notes: list[str] = []

    @contextmanager
    def track(self, description: str, total: float | None) -> Iterator[Advance]:
        self.totals.append(total)

        def advance(units: float) -> None:
            self.done += units

        yield advance

    def note(self, message: str) -> None:
        self.notes.append(message)


class Hub(BaseHTTPRequestHandler):
    """One repository, org/name, with a main branch; org/gated cannot be had, and nothing else exists."""

    files: dict[str, bytes]
    asked: list[str]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        type(self).asked.append(f"{self.command} {path}")
        if path.startswith("/api/models/org/name/revision/"):
            if path.rsplit("/", 1)[1] not in ("main", COMMIT):
                return self.send(404, b"{}", body, {"X-Error-Code": "RevisionNotFound"})
            siblings = [{"rfilename": name, "size": len(data)} for name, data in self.files.items()]
            counted = {"parameters": {"F32": N_PARAMETERS}, "total": N_PARAMETERS}
            answer = {"id": "org/name", "sha": COMMIT, "siblings": siblings, "safetensors": counted}
            return self.send(200, json.dumps(answer).encode(), body)
        if path.startswith("/api/models/org/name/tree/"):
            rows = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in self.files.items()
            ]
            return self.send(200, json.dumps(rows).encode(), body)
        if path.startswith(f"/org/name/resolve/{COMMIT}/"):
            data = self.files[path.removeprefix(f"/org/name/resolve/{COMMIT}/")]
            return self.send(200, data, body, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'})
        if "org/gated" in path:
            return self.send(403, b"{}", body, {"X-Error-Code": "GatedRepo"})
        return self.send(404, b"{}", body, {"X-Error-Code": "RepoNotFound"})

    def send(self, status: int, data: bytes, body: bool, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def hub(tmp_path, monkeypatch, save_model) -> Iterator[type[Hub]]:
    monkeypatch.setenv("ALIGNMENT_BENCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = save_model(tmp_path / "saved")
    Hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    Hub.files |= {"pytorch_model.bin": bytes(10), "README.md": b"#", "flax_model.msgpack": bytes(10)}
    Hub.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        constants = "huggingface_hub.constants."
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(f"{constants}ENDPOINT", endpoint)
        monkeypatch.setattr(
            f"{constants}HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(f"{constants}HF_HUB_OFFLINE", False)
        monkeypatch.setattr(f"{constants}HF_HUB_CACHE", str(tmp_path / "hub"))
        yield Hub
        server.shutdown()


def test_the_shards_that_the_index_names_are_downloaded(hub):
    weights = hub.files.pop("model.safetensors")
    shard, stale = "parts/model.safetensors-00001-of-00001.safetensors", "model-00001-of-00002.safetensors"
    index = json.dumps({"metadata": {}, "weight_map": dict.fromkeys(load(weights), shard)}).encode()
    hub.files |= {shard: weights, "model.safetensors.index.json": index, stale: bytes(10)}
    source = resolve_model("org/name")
    source.fetch(Silent())
    assert (source.folder() / shard).is_file() and not (source.folder() / stale).exists()
    assert source.missing() == []
    assert source.load(dtype="float32", device="cpu")[0].num_parameters() > 0


def test_a_disk_without_room_for_a_checkpoint_is_one_message(hub, tmp_path, monkeypatch):
    source = resolve_model("org/name")
    size = len(hub.files["model.safetensors"])
    (line,) = source.missing()
    assert room.download_sizes([line])[tmp_path / "hub"] > size
    for module in (room, hub_client):
        monkeypatch.setattr(module, "free_disk", lambda folder: size)
    with pytest.raises(BenchError, match=r"downloading hub:org/name needs .* or set HF_HOME to a folder on another"):
        source.fetch(Silent())
    assert not [path for path in (tmp_path / "hub").rglob("*") if path.name.startswith("model.safetensors")]


def test_the_size_of_a_model_that_is_yet_to_be_downloaded_is_the_hubs_word(hub):
    source = resolve_model("org/name")
    hub_client.published_parameters.cache_clear()
    assert count_parameters(source) == N_PARAMETERS
    size = room.download_sizes(source.missing())
    assert fetch_seconds(source) == pytest.approx(sum(size.values()) / TABLE["download_bytes"])
    assert hub_client.published_parameters("org/gated", "main") is None


def test_a_checkpoint_that_is_cached_needs_no_room(hub, monkeypatch):
    resolve_model("org/name").fetch(Silent())
    for module in (room, hub_client):
        monkeypatch.setattr(module, "free_disk", lambda folder: 0)
    hub_client.download("org/name", COMMIT, {"model.safetensors": len(hub.files["model.safetensors"])}, Silent())


def test_what_loading_reads_is_downloaded_and_shown_and_nothing_else(hub):
    source, progress = resolve_model("org/name"), Recorder()
    assert source.missing()[0].startswith("hub:org/name (Hugging Face hub, 0.00 GB)")
    source.fetch(progress)
    names = {path.name for path in source.folder().iterdir()}
    assert "model.safetensors" in names and not names & {"pytorch_model.bin", "README.md", "flax_model.msgpack"}
    expected = sum(len(hub.files[name]) for name in names)
    assert progress.totals == [expected] and progress.done == expected
    assert source.revision == COMMIT and source.missing() == []
    assert source.load(dtype="float32", device="cpu")[0].config.num_hidden_layers == 2


def test_what_was_fetched_whole_is_not_asked_for_again(hub):
    resolve_model("org/name").fetch(Recorder())
    hub.asked.clear()
    again = resolve_model("org/name")
    again.fetch(Recorder())
    again.load(dtype="float32", device="cpu")
    assert again.missing() == [] and hub.asked == []


def test_an_interrupted_download_is_completed(hub, tmp_path):
    first = resolve_model("org/name")
    first.fetch(Recorder())
    small = first.folder() / "tokenizer_config.json"
    for remembered in (True, False):
        small.unlink()
        if not remembered:
            next((tmp_path / "cache" / "hub").iterdir()).unlink()
        resolve_model("org/name").fetch(Recorder())
        assert small.exists()


def test_without_a_network_what_was_fetched_is_used(hub, monkeypatch):
    first = resolve_model("org/name")
    first.fetch(Recorder())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    again = resolve_model("org/name")
    again.fetch(Recorder())
    assert again.missing() == [] and again.fingerprint() == first.fingerprint()
    assert again.config().model_type == "llama"


def test_a_branch_stays_at_the_commit_that_was_fetched(hub, monkeypatch):
    first = resolve_model("org/name")
    first.fetch(Recorder())
    monkeypatch.setattr(hub, "files", {})  # as if the branch had moved on
    again = resolve_model("org/name")
    again.fetch(Recorder())
    assert again.revision == first.revision and again.load(dtype="float32", device="cpu")


def test_the_configuration_comes_without_the_weights(hub):
    assert resolve_model("org/name").config().model_type == "llama"
    assert not any("safetensors" in request for request in hub.asked)


def test_weights_in_the_older_format_alone_are_noted(hub):
    del hub.files["model.safetensors"]
    source, progress = resolve_model("org/name"), Recorder()
    source.fetch(progress)
    assert (source.folder() / "pytorch_model.bin").exists()
    assert "read as tensors only" in progress.notes[0]


@pytest.mark.parametrize(
    ("locator", "message"),
    [
        ("org/other", "the hub has no model 'org/other'"),
        ("org/name@no-such-branch", "has no revision 'no-such-branch'"),
        ("org/gated", "gated: accept its terms"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_line(locator, message, hub):
    source = resolve_model(locator)
    for action in (source.missing, source.fingerprint, lambda: source.fetch(Recorder())):
        with pytest.raises(UsageError, match=message):
            action()


def test_a_repository_that_is_no_checkpoint_is_refused_before_downloading(hub):
    del hub.files["config.json"]
    with pytest.raises(UsageError, match=r"lacks config\.json"):
        resolve_model("org/name").fetch(Recorder())
    assert not any("resolve" in request for request in hub.asked)
