"""The commands, collected under their names."""

from collections.abc import Callable
from typing import Annotated

import typer

from convsnn.commands.bench import bench
from convsnn.commands.checked import checked
from convsnn.commands.compare import compare
from convsnn.commands.convert import convert
from convsnn.commands.coverage import coverage
from convsnn.commands.diagnose import diagnose
from convsnn.commands.evaluate import evaluate
from convsnn.commands.export import export
from convsnn.commands.figures import figures
from convsnn.commands.finetune import finetune
from convsnn.commands.fit import fit
from convsnn.commands.inspect import inspect
from convsnn.commands.list import list_
from convsnn.commands.predict import predict
from convsnn.commands.train import train
from convsnn.commands.tune import tune

app = typer.Typer(
    name="convsnn",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
COMMANDS: dict[str, Callable[..., int | None]] = {
    "bench": bench,
    "compare": compare,
    "convert": convert,
    "coverage": coverage,
    "diagnose": diagnose,
    "evaluate": evaluate,
    "export": export,
    "figures": figures,
    "finetune": finetune,
    "fit": fit,
    "inspect": inspect,
    "list": list_,
    "predict": predict,
    "train": train,
    "tune": tune,
}


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.")
    ] = False,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            help="A module outside convsnn that enrols neurons, stages or others; more than once, "
            "anywhere on the line. CONVSNN_PLUGINS and installed packages name more."
        ),
    ] = None,
) -> None:
    """Turn trained ReLU networks into calibrated spiking networks."""
    del version, plugin  # read by `main`, before the names that options take are looked at


for _name, _command in COMMANDS.items():
    app.command(_name)(checked(_command))
