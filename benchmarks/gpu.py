"""All that a few minutes of a GPU can tell, by one command.

Parts in this order, each in a process of its own with a time limit, so that one that fails or
hangs costs itself alone: `right` (does it compute what it should), `fast` (images per second and
memory), `peers` (normflows, jet-pytorch), `deep` (memory against depth), `profile` (kernels) and
`speedrun` (CIFAR-10, in all minutes that are left). Each writes its JSON into the folder as it
goes; `gpu_report.py` makes a page of them.

It needs torch, numpy, safetensors, pandas, pyarrow, pillow, matplotlib and typer, and is run from
a checkout that need not be installed:

    python benchmarks/gpu.py --minutes 8 --cifar10 data/cifar10 --out results-gpu
    python benchmarks/gpu.py --minutes 9 --only speedrun --cifar10 data/cifar10 --out results-gpu
    python benchmarks/gpu.py --dry-run --out /tmp/gpu        # all of it, tiny, on a CPU
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from gpu_parts import WEIGHTS
from gpu_parts.settings import Settings, Speedrun

HERE = Path(__file__).resolve().parent
PATH = os.pathsep.join(
    [str(HERE), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
)
GRACE = 5.0  # seconds after its time before a part is killed
LINES = 40  # of the log of a part that did not end by itself


def attempt(part: str, settings: Settings) -> dict[str, Any]:
    """What the part has in its JSON when it is over, however it ended."""
    log, file = settings.out / f"{part}.log", settings.out / f"{part}.json"
    file.unlink(missing_ok=True)
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "gpu_parts", part, settings.text],
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=HERE.parent,
            env={**os.environ, "PYTHONPATH": PATH, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # with all processes that it starts
        )
        try:
            process.wait(settings.seconds + GRACE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError, PermissionError):  # all of it has ended
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # one that hangs in the driver may stay
                process.wait(GRACE)
    found = read(file, part)
    if found["status"] == "running":
        found["seconds"] = round(time.monotonic() - settings.began, 1)
        late = found["seconds"] > settings.seconds - GRACE
        found["status"] = "out of time" if late else f"ended with {process.returncode}"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        found["traceback"] = "\n".join(lines[-LINES:])
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def read(file: Path, part: str) -> dict[str, Any]:
    """The JSON of a part, or of one that died before its first line."""
    empty = {"part": part, "status": "running", "seconds": 0.0, "headline": ""}
    empty |= {"facts": {}, "tables": {}, "warnings": [], "traceback": None}
    with suppress(OSError, json.JSONDecodeError):
        return json.loads(file.read_text(encoding="utf-8"))
    return empty


def summary(found: list[dict[str, Any]]) -> str:
    """A line for each part."""
    lines = [f"{'part':9} {'status':12} {'seconds':>7}  what it found"]
    lines += [f"{f['part']:9} {f['status']:12} {f['seconds']:7}  {f['headline']}" for f in found]
    return "\n".join(lines)


def chosen(only: str) -> list[str]:
    """The parts' names, in their order."""
    wanted = [name.strip() for name in only.split(",") if name.strip()] or list(WEIGHTS)
    if unknown := [name for name in wanted if name not in WEIGHTS]:
        raise typer.BadParameter(f"no part {unknown[0]!r}, expected of {', '.join(WEIGHTS)}")
    return [name for name in WEIGHTS if name in wanted]


def set_speedrun(options: list[str]) -> Speedrun:
    """From `name=value`s."""
    kinds = {field.name: type(field.default) for field in fields(Speedrun)}
    values: dict[str, Any] = {}
    for option in options:
        name, _, text = option.partition("=")
        kind = kinds.get(name)
        try:
            if kind is None:
                raise ValueError
            values[name] = json.loads(text.lower()) if kind is bool else kind(text)
        except ValueError:
            raise typer.BadParameter(
                f"{option!r}, expected NAME=VALUE, NAME of {', '.join(kinds)}"
            ) from None
    try:
        return Speedrun(**values)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def command(
    *,
    out: Annotated[Path, typer.Option(help="folder for JSON, logs, weights and samples")],
    minutes: Annotated[float, typer.Option(help="for all parts together")] = 8.0,
    only: Annotated[str, typer.Option(help="parts, with commas; by default all")] = "",
    cifar10: Annotated[
        Path | None,
        typer.Option(
            help="folder of CIFAR-10's train*.parquet and test*.parquet, or some of them"
        ),
    ] = None,
    wheels: Annotated[
        Path | None, typer.Option(help="folder of the peers' wheels, where they are not installed")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="of the speedrun, as depth=32; may be repeated"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="all of it, tiny: does it run, on a CPU too")
    ] = False,
) -> None:
    """Run the parts, one after the other, and print what each found."""
    parts, speedrun = chosen(only), set_speedrun(set_ or [])
    out.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + 60 * minutes
    found = []
    for number, part in enumerate(parts):
        left = ends - time.monotonic() - GRACE
        share = WEIGHTS[part] / sum(WEIGHTS[name] for name in parts[number:])
        settings = Settings(
            out=out.resolve(),
            began=time.monotonic(),
            seconds=round(max(5.0, share * left), 1),
            dry=dry_run,
            wheels=wheels and wheels.resolve(),
            cifar10=cifar10 and cifar10.resolve(),
            speedrun=speedrun,
        )
        print(f"{part}: up to {settings.seconds:.0f} s", file=sys.stderr, flush=True)
        found.append(attempt(part, settings))
        print(f"  {found[-1]['status']}: {found[-1]['headline']}", file=sys.stderr, flush=True)
    print(summary(found))
    if any(each["status"] not in ("done", "skipped") for each in found):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(command)
