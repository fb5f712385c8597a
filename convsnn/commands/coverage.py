"""`convsnn coverage`: which networks of the libraries, or of a folder, convert, and why not."""

import json
import math
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from convsnn.commands.options import Json
from convsnn.commands.terminal import messages
from convsnn.errors import ConfigError
from convsnn.report.files import require_writable, write_text
from convsnn.report.page.assemble import versions
from convsnn.report.wording import counted
from convsnn.workflows.coverage.networks import LIBRARIES, file_digest, list_networks
from convsnn.workflows.coverage.rows import RowFile
from convsnn.workflows.coverage.table import TITLE, render_markdown, render_terminal, summarise
from convsnn.workflows.coverage.verdict import FAILED, Extent, Row
from convsnn.workflows.coverage.worker import Limits, judge_all
from convsnn.workflows.running.voice import progress

_LIMITS = "Limits"
_MANY = 30_000_000


def coverage(
    *,
    libraries: Annotated[
        str | None,
        typer.Option(
            help="torchvision,timm or one of them. Default: both, or none beside --folder."
        ),
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="ONNX files in and below it.")] = None,
    match: Annotated[str, typer.Option(help="Only these names: 'resnet*', 'timm:dla*'.")] = "*",
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Also compare with the original, convert and simulate a few steps."
        ),
    ] = False,
    max_parameters: Annotated[
        int, typer.Option(help="Larger networks are read only.", min=0, rich_help_panel=_LIMITS)
    ] = _MANY,
    timeout: Annotated[
        float, typer.Option(help="Seconds for one network.", min=1, rich_help_panel=_LIMITS)
    ] = 600,
    max_memory: Annotated[
        float, typer.Option(help="GiB for one network.", min=1, rich_help_panel=_LIMITS)
    ] = 8,
    jobs: Annotated[
        int, typer.Option(help="Networks side by side.", min=1, rich_help_panel=_LIMITS)
    ] = 1,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the table to this .md file.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the rows beside --output.")
    ] = False,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Begin no further network after so many; the table says how many are left.", min=0
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Say of many networks at once whether they convert; exit 1 where one failed."""
    chosen = _libraries(libraries, folder)
    extent = Extent(full, max_parameters, str(folder or ""))
    if output is None and resume:
        raise ConfigError("--resume needs the --output of the run it goes on with")
    if output is not None:
        _check_target(output)
    networks = list_networks(chosen, folder, match)
    made_by = {"full": full, "max_parameters": max_parameters, "versions": versions()}
    if folder is not None:
        made_by["folder"] = str(folder.resolve())
    store = None if output is None else RowFile(output.with_suffix(".jsonl"), made_by)
    stored = {} if store is None else store.open(resume=resume)
    known = {name: stored[name] for name in networks if name in stored}
    known = {name: row for name, row in known.items() if _holds(row, folder)}
    untold = match == "*" and not any((folder, libraries, minutes, output))
    _announce(networks, len(known), everything=untold)
    limits = Limits(timeout, int(max_memory * 2**30))
    try:
        rows = _judge(
            networks, known, extent, jobs=jobs, limits=limits, store=store, minutes=minutes
        )
    except KeyboardInterrupt:
        if store is not None:
            note = f"the rows so far are in {store.path}; go on with --resume"
            messages().print(note, markup=False)
        raise
    command = _command(chosen, folder, match, extent)
    left = len(networks) - len(rows)
    if left:
        note = f"{left} of {len(networks)} networks are left; go on with --resume"
        messages().print(note, markup=False)
    if output is not None:
        write_text(output, render_markdown(rows, command=command, versions=versions(), left=left))
    if as_json:
        print(json.dumps(_document(rows, command), indent=2))
    else:
        Console(highlight=False).print(render_terminal(rows))
    return 1 if any(row.verdict == FAILED for row in rows) else 0


def _libraries(text: str | None, folder: Path | None) -> list[str]:
    if text is None:
        return list(LIBRARIES) if folder is None else []
    return [name.strip() for name in text.split(",") if name.strip()]


def _announce(networks: Sequence[str], known: int, *, everything: bool) -> None:
    """Say how much will be done, and where nothing was chosen, how to do less."""
    note = messages()
    counts = Counter(name.partition(":")[0] for name in networks)
    kinds = ", ".join(f"{number:,} of {kind}" for kind, number in counts.items())
    kept = f"; {known:,} are known from before" if known else ""
    note.print(f"{counted(len(networks), 'network')} to judge: {kinds}{kept}", markup=False)
    if everything:
        fewer = "--match 'resnet*', --libraries torchvision or --minutes 10 judge fewer; "
        note.print(f"{fewer}-o TABLE.md keeps what is done", markup=False)


def _check_target(output: Path) -> None:
    """Refuse, before hours of work, a file that cannot be written or is somebody else's."""
    if output.suffix != ".md":
        raise ConfigError(f"--output '{output}' is no .md file")
    if not output.parent.is_dir():
        raise ConfigError(f"there is no folder '{output.parent}' to write '{output.name}' to")
    require_writable(output.parent)
    if output.exists():
        try:
            ours = output.is_file() and output.read_text(encoding="utf-8").startswith(TITLE)
        except (OSError, UnicodeDecodeError):
            ours = False
        if not ours:
            raise ConfigError(
                f"'{output}' exists and is no table of coverage", hint="choose another name"
            )


def _holds(row: Row, folder: Path | None) -> bool:
    """Whether a row of an earlier run still tells: faults may have gone, files have changed."""
    if folder is not None and row.network.startswith("onnx:"):
        digest = file_digest(folder / row.network.partition(":")[2])
        return row.verdict != FAILED and digest == row.digest != ""
    return row.verdict != FAILED


def _judge(
    networks: Sequence[str],
    known: dict[str, Row],
    extent: Extent,
    *,
    jobs: int,
    limits: Limits,
    store: RowFile | None,
    minutes: float | None,
) -> list[Row]:
    """All rows in the order of `networks`, or those known when the `minutes` are over; each is
    stored as soon as it is known."""
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    left = [network for network in networks if network not in known]
    note = messages()
    with progress("networks", len(networks)) as advance:
        advance(len(networks) - len(left))
        if time.monotonic() >= end:
            left = []
        for row in judge_all(left, extent, jobs=jobs, limits=limits):
            known[row.network] = row
            if store is not None:
                store.add(row)
            done = sum(network in known for network in networks)
            advance(done)
            if not note.is_terminal:  # a log gets a line for each, a terminal the bar
                line = f"[{done}/{len(networks)}] {row.network} {row.verdict} {row.reason}"
                note.print(line.strip(), markup=False)
            if time.monotonic() >= end:
                break
    return [known[network] for network in networks if network in known]


def _command(libraries: Sequence[str], folder: Path | None, match: str, extent: Extent) -> str:
    """The command with all that decides about the result, and nothing else."""
    words = ["convsnn", "coverage"]
    if libraries:
        words += ["--libraries", ",".join(libraries)]
    if folder is not None:
        words += ["--folder", str(folder)]
    if match != "*":
        words += ["--match", match]
    if extent.full:
        words += ["--full", "--max-parameters", str(extent.max_parameters)]
    return shlex.join(words)


def _document(rows: Sequence[Row], command: str) -> dict[str, Any]:
    return {
        "command": command,
        "versions": versions(),
        "summary": asdict(summarise(rows)),
        "networks": [row.to_json() for row in rows],
    }
