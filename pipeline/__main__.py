"""`python -m pipeline`: run the pipeline, serve it to Prefect, start from a preset."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from pipeline.errors import InputError, PipelineError

# Prefect and DVC take seconds to import, so each command imports what it needs.
app = typer.Typer(
    help="The pipeline of dvc.yaml, run by Prefect.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command(epilog="Example: python -m pipeline up, then: prefect deployment run glow/train")
def up() -> None:
    """Serve glow/train and glow/sweep, and start a local Prefect server if none answers."""
    from prefect import serve
    from prefect.events import DeploymentEventTrigger

    from pipeline.flow import glow
    from pipeline.server import a_server
    from pipeline.sweep import sweep

    with a_server() as url:
        print(
            f"Prefect is at {url.removesuffix('/api')}; `prefect server stop` ends it.", flush=True
        )
        changed = DeploymentEventTrigger(
            name="retrain when the data changed", expect={"glow.data.changed"}
        )
        train: Any = glow.to_deployment("train", concurrency_limit=1, triggers=[changed])
        swept: Any = sweep.to_deployment("sweep", concurrency_limit=1)
        serve(train, swept)


@app.command(
    epilog="Example: python -m pipeline run -S model.depth=16 -S 'samples.temperatures=[0.7]'"
)
def run(
    *,
    stage: Annotated[
        list[str] | None, typer.Option(help="Run only this stage; may be repeated.")
    ] = None,
    set_param: Annotated[
        list[str] | None,
        typer.Option("--set-param", "-S", help="key=value, in params.yaml during the run."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave what was set, and its outputs, in the checkout.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Run stages also when nothing has changed.")
    ] = False,
) -> None:
    """Run the flow in this process; a Prefect server is used if there is one, but not needed.

    With -S the result is a DVC experiment (`dvc exp show`), and the checkout is afterwards as it
    was, unless --keep is given.
    """
    from pipeline.dag import project_root
    from pipeline.flow import glow, refuse
    from pipeline.overrides import parse_overrides

    overrides = parse_overrides(set_param or [])
    refuse(project_root(), overrides, stage, keep=keep)  # before the start of a server
    _run_here(glow, overrides=overrides, force=force, stages=stage, keep=keep)


@app.command(epilog="Example: python -m pipeline sweep -S model.depth=4,8,16 -S seed=0,1")
def sweep(
    set_param: Annotated[
        list[str], typer.Option("--set-param", "-S", help="key=value,value: an axis of the grid.")
    ],
) -> None:
    """Run the flow for every combination of values, then leave the checkout as it was.

    Each point is a DVC experiment (`dvc exp show`) and a run in MLflow.
    """
    from pipeline.dag import project_root
    from pipeline.flow import refuse
    from pipeline.sweep import parse_grid, points
    from pipeline.sweep import sweep as sweep_flow

    grid = parse_grid(set_param)
    refuse(project_root(), points(grid)[0])
    _run_here(sweep_flow, grid=grid)


@app.command(epilog="Example: python -m pipeline preset tiny")
def preset(
    name: Annotated[
        str | None, typer.Argument(help="The preset; left out, all are listed.")
    ] = None,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Also when params.yaml has uncommitted changes.")
    ] = False,
) -> None:
    """List the presets, or put one in place of params.yaml."""
    from pipeline.dag import project_root
    from pipeline.preset import presets, use_preset

    if name is None:
        width = max(len(known) for known in presets())
        for known, purpose in presets().items():
            print(f"{known:{width}}  {purpose}")
    else:
        use_preset(name, project_root(), force=force)
        print(f"params.yaml is now the preset {name}; `git checkout params.yaml` undoes it.")


@app.command(epilog="Example: python -m pipeline stages")
def stages() -> None:
    """Print the stages of dvc.yaml in the order in which they run."""
    from pipeline.dag import project_root, stage_order

    print("\n".join(stage_order(project_root())))


def _run_here(flow: Any, **parameters: Any) -> None:  # noqa: ANN401 - prefect is imported late
    from pipeline.server import a_server_for_now

    # Prefect has a handler of its own during the flow; this one comes after it, for the server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with a_server_for_now():
        state = flow(**parameters, return_state=True)
    if not state.is_completed():
        raise PipelineError(state.message or f"the flow ended as {state.name}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command; errors meant for users become one line on stderr.

    Everything else keeps its traceback, since it is a bug of ours.
    """
    os.environ.setdefault("DO_NOT_TRACK", "true")
    try:
        app(arguments, prog_name="python -m pipeline")
    except (InputError, PipelineError) as error:
        summary = str(error).partition("\n")[0].rstrip(":")  # a stage's last lines are in the log
        print(f"error: {summary}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)


if __name__ == "__main__":
    main()
