"""The command line: a trained model described, tried, and put to use."""

import typer

from glow.apps.coding import compress, decompress
from glow.apps.describing import describe
from glow.apps.diagnosis import doctor
from glow.apps.editing import edit
from glow.apps.editor.command import editor
from glow.apps.errors import Commands
from glow.apps.interpolation import interpolate
from glow.apps.reconstruction import reconstruct
from glow.apps.sampling import sample
from glow.apps.scoring import score

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Use a trained Glow.",
    pretty_exceptions_enable=False,
)

for command in (
    describe,
    sample,
    reconstruct,
    interpolate,
    edit,
    score,
    doctor,
    editor,
    compress,
    decompress,
):
    app.command()(command)
