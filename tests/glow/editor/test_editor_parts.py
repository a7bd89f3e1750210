"""Parts of the editor by themselves: sessions, turns, classes, credits, its command."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from glow import Glow, GlowConfig, load_glow, save_glow
from glow.apps.actions import Actions
from glow.apps.cli import app
from glow.apps.editor import sessions as bounds
from glow.apps.editor.about import about
from glow.apps.editor.painter import Painter
from glow.apps.editor.sessions import Encoded, Gone, Sessions
from glow.apps.editor.turns import MAX_WAITING, Busy, Turns
from glow.apps.editor.wishes import Drawn, Look
from glow.apps.uploads import BadRequest
from stages.params import AvatarsParams
from stages.sources.avatars import AvatarsSource

ROOT = Path(__file__).resolve().parents[3]
IMAGE = Encoded(torch.zeros(256), None)  # a KiB


def test_idle_sessions_end_and_used_ones_stay() -> None:
    now = 0.0
    sessions = Sessions(expiry=10.0, clock=lambda: now)
    idle, used = sessions.open(), sessions.open()
    key = sessions.keep(used, IMAGE)
    now = 8.0
    assert sessions.image(used, key) is IMAGE
    now = 12.0
    with pytest.raises(Gone):
        sessions.check(idle)
    assert sessions.image(used, key) is IMAGE


def test_the_memory_of_all_sessions_is_bounded() -> None:
    sessions = Sessions(memory=3 * 1024)
    first, second = sessions.open(), sessions.open()
    kept = [sessions.keep(session, IMAGE) for session in (first, second, second)]
    assert sessions.image(first, kept[0]) is IMAGE  # so that the second is the longest unused
    sessions.keep(first, IMAGE)
    with pytest.raises(Gone):
        sessions.check(second)
    assert sessions.image(first, kept[0]) is IMAGE


def test_the_number_of_sessions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_SESSIONS", 2)
    sessions = Sessions()
    opened = [sessions.open() for _ in range(3)]
    assert len(set(opened)) == 3
    with pytest.raises(Gone):
        sessions.check(opened[0])
    sessions.check(opened[1])


def test_who_asks_for_little_need_not_wait_for_who_asks_for_much() -> None:
    done: list[str] = []

    async def ask() -> None:
        turns = Turns()
        greedy = [turns.take("greedy", lambda: done.append("greedy")) for _ in range(5)]
        modest = turns.take("modest", lambda: done.append("modest"))
        await asyncio.gather(*greedy, modest)

    asyncio.run(ask())
    assert done.index("modest") <= 1
    assert done.count("greedy") == 5


def test_turns_pass_errors_on_refuse_floods_and_skip_who_has_left() -> None:
    done: list[int] = []

    async def ask() -> None:
        turns = Turns()
        with pytest.raises(ZeroDivisionError):
            await turns.take("one", lambda: 1 // 0)
        waiting = [
            asyncio.create_task(turns.take("one", lambda index=index: done.append(index)))
            for index in range(MAX_WAITING)
        ]
        await asyncio.sleep(0)  # now all of them have asked, and the first has begun
        waiting[-1].cancel()
        flood = [asyncio.create_task(turns.take("one", lambda: 0)) for _ in range(MAX_WAITING)]
        answers = await asyncio.gather(*flood, return_exceptions=True)
        assert any(isinstance(answer, Busy) for answer in answers)
        await asyncio.gather(*waiting[:-1])

    asyncio.run(ask())
    assert done == list(range(MAX_WAITING - 1))


def test_a_model_with_classes_draws_each_face_with_its_own() -> None:
    config = GlowConfig(image_size=8, n_levels=2, depth=1, hidden_channels=4, classes=("a", "b"))
    glow = Glow(config)
    with torch.no_grad():
        for parameter in glow.top.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    painter = Painter(Actions(glow.eval(), {}))

    def face(label: str | None, seed: int = 0) -> Drawn:
        return Drawn(seed=seed, temperature=0.1, label=label)

    def draw(look: Look, t: float) -> torch.Tensor:
        return painter.draw(look, [t], {})

    a, b = draw(Look(base=face("a")), 0.0), draw(Look(base=face("b")), 0.0)
    assert (a != b).any()
    way = Look(base=face("a"), other=face("b"))
    torch.testing.assert_close(draw(way, 0.0), a)
    torch.testing.assert_close(draw(way, 1.0), b)
    with pytest.raises(BadRequest, match="expected one of a, b"):
        draw(Look(base=face(None)), 0.0)


def test_the_default_models_credit_is_known_without_its_shards(tmp_path: Path) -> None:
    checksum = json.loads((ROOT / "results/evaluate.json").read_text())["data"]
    (tmp_path / "config.json").write_text(json.dumps({"config": {}, "about": {"data": checksum}}))
    missing = tmp_path / "missing.json"
    facts = about(tmp_path, GlowConfig(image_size=8), "", [], missing, missing)
    assert facts["data"]["source"] == "avatars"
    source = AvatarsSource(AvatarsParams(n_images=1, zoom=1.0), 8, 0)
    assert facts["data"]["credit"] == source.credit


def test_facts_of_another_models_data_are_left_out(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"data": "456", "checksum": "456", "test": {"bits_per_dim": 9.0}}')
    facts = about(model, GlowConfig(image_size=8), "", [], other, other)
    assert facts["test"] is None
    assert facts["data"] == {}


@pytest.mark.parametrize(
    ("known", "shown"), [({}, True), ({"weights": "ab"}, True), ({"weights": "cd"}, False)]
)
def test_numbers_of_other_weights_are_left_out(
    model: Path,
    tmp_path: Path,
    known: dict[str, str],
    shown: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    evaluation = tmp_path / "evaluate.json"
    evaluation.write_text(json.dumps({"data": "123", "test": {"bits_per_dim": 9.0}, **known}))
    missing = tmp_path / "missing.json"
    facts = about(model, GlowConfig(image_size=8), "ab", [], evaluation, missing)
    assert (facts["test"] is not None) == shown


def refused(*options: object) -> str:
    result = CliRunner().invoke(app, ["editor", *map(str, options)])
    assert result.exit_code == 2
    assert len(result.output.splitlines()) == 1
    return result.output


def test_what_cannot_be_served_is_said_in_a_line(model: Path, tmp_path: Path) -> None:
    assert "dvc repro train" in refused("--model", tmp_path)
    vectors = tmp_path / "vectors.safetensors"
    save_file({"Smiling": torch.zeros(5)}, vectors)
    assert "Smiling is (5,)" in refused("--model", model, "--vectors", vectors)
    assert "attribute vectors" in refused("--model", model, "--vectors", tmp_path / "none")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "--port 0" in refused("--model", model, "--port", port)


def test_the_example_of_the_help_works(model: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["editor", "--help"]).output
    (example,) = re.findall(r"Example: (python -m glow editor.*?) *\n", shown)
    save_glow(load_glow(model), tmp_path / "models" / "glow")
    command = [sys.executable, *example.split()[1:-1], "0"]  # the port may be taken
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http://127.0.0.1:\d+", server.stdout.readline())
            assert address
            with urlopen(address[0]) as page:
                assert b"<title>" in page.read()
        finally:
            server.terminate()
