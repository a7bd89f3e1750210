"""A tiny data set, made once; a project that tracks into a store of its own."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny import SMALL, tiny

from glow import Glow, GlowConfig, save_glow
from stages.outputs import write_json
from stages.preprocess import preprocess
from stages.shards import MANIFEST, ShardSet


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """96 avatars of 8x8 pixels, 5 bits."""
    folder = tmp_path_factory.mktemp("shards")
    params = tiny(**SMALL)
    write_json(folder / MANIFEST, preprocess(params.data, params.seed, folder))
    return ShardSet.open(folder)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A store without runs; making its tables takes seconds."""
    from stages import tracking

    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    tracking._connect(f"sqlite:///{file}")
    return file.read_bytes()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to track into, in a process that has not tracked before."""
    for name in ("MLFLOW_TRACKING_URI", "RANK", "DVC_EXP_NAME", "PREFECT__FLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    from tracked import as_a_new_process

    as_a_new_process()
    return tmp_path


@pytest.fixture
def client(project: Path, empty_database: bytes) -> Any:  # noqa: ANN401 - mlflow is untyped
    """Reads the project's own store."""
    from tracked import connect

    (project / "mlflow.db").write_bytes(empty_database)
    return connect(f"sqlite:///{project / 'mlflow.db'}")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "grid.png"
    Image.new("RGB", (20, 10), "red").save(file)
    return file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    glow = Glow(GlowConfig(image_size=8, n_bits=5, n_levels=2, depth=1, hidden_channels=4))
    glow.initialize(torch.rand(4, 3, 8, 8) - 0.5)
    save_glow(glow, tmp_path / "models" / "glow")
    return tmp_path / "models" / "glow"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The URL of a web server of the folder `site`, which lists what is in it."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "site").mkdir()
    handler = functools.partial(Quiet, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
