"""`python -m pipeline`: run the pipeline, serve it to Prefect, start from a preset."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated

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
    """Serve the deployment glow/train, and start a local Prefect server if none answers."""
    from pipeline.flow import glow
    from pipeline.server import a_server

    with a_server() as url:
        print(
            f"Prefect is at {url.removesuffix('/api')}; `prefect server stop` ends it.", flush=True
        )
        glow.serve(name="train", limit=1)


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
        typer.Option("--set-param", "-S", help="key=value to write into params.yaml first."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Run stages also when nothing has changed.")
    ] = False,
) -> None:
    """Run the flow in this process; a Prefect server is used if there is one, but not needed."""
    from pipeline.dag import project_root
    from pipeline.flow import glow, plan
    from pipeline.overrides import parse_overrides
    from pipeline.server import a_server_for_now

    overrides = parse_overrides(set_param or [])
    plan(project_root(), overrides, stage)  # so that what is refused costs no start of a server
    # Prefect has a handler of its own during the flow; this one comes after it, for the server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with a_server_for_now():
        state = glow(overrides=overrides, force=force, stages=stage, return_state=True)
    if not state.is_completed():
        raise PipelineError(state.message or f"the flow ended as {state.name}")


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
