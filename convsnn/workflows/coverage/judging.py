"""Judges the networks of the libraries, or of a folder, one after the other; the way in to it all.

Rows are stored as soon as they are known, so that a stopped run goes on where it was.
"""

import math
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import RenderableType

from convsnn.errors import ConfigError
from convsnn.report.files import require_writable, write_text
from convsnn.report.page.assemble import versions
from convsnn.report.sheets import Sheet
from convsnn.report.wording import counted
from convsnn.workflows.coverage.networks import LIBRARIES, file_digest, list_networks
from convsnn.workflows.coverage.rows import RowFile
from convsnn.workflows.coverage.sheets import coverage_sheets
from convsnn.workflows.coverage.table import TITLE, render_markdown, render_terminal, summarise
from convsnn.workflows.coverage.verdict import FAILED, Extent, Row
from convsnn.workflows.coverage.worker import Limits, judge_all
from convsnn.workflows.running.result import Result
from convsnn.workflows.running.voice import line, note, progress

LARGE = 30_000_000  # parameters
_FEWER = (
    "--match 'resnet*', --libraries torchvision or --minutes 10 judge fewer; -o TABLE.md keeps "
    "what is done"
)


@dataclass(frozen=True, repr=False)
class Coverage(Result):
    """A row for each network that was judged; `left` networks were not."""

    rows: tuple[Row, ...]
    left: int

    @property
    def failed(self) -> bool:
        """Whether a network met a fault of this project."""
        return any(row.verdict == FAILED for row in self.rows)

    def render(self, *, width: int) -> RenderableType:
        """See `Result`."""
        del width  # it folds
        return render_terminal(self.rows)

    def sheets(self) -> Sequence[Sheet]:
        """See `Tabled`."""
        return coverage_sheets(self.rows)

    def about(self) -> str:
        """See `Result`."""
        verdicts = self.document["summary"]["verdicts"]
        return ", ".join(f"{verdict} {number}" for verdict, number in verdicts.items() if number)


def coverage(
    *,
    libraries: Sequence[str] | None = None,
    folder: str | Path | None = None,
    match: str = "*",
    full: bool = False,
    max_parameters: int = LARGE,
    limits: Limits | None = None,
    jobs: int = 1,
    minutes: float | None = None,
    output: str | Path | None = None,
    resume: bool = False,
) -> Coverage:
    """Say of every network of `libraries` (None: all, or none beside a folder) and every ONNX file
    below `folder`, whose name fits the glob `match`, whether it converts, and why not.

    With `full` those of at most `max_parameters` are also compared with the original, converted
    and simulated. Each is judged within `limits`, `jobs` side by side, and none is begun after
    `minutes`. The table is written to `output`, a .md file, beside which rows are kept that
    `resume` goes on with. Raises ConfigError for what cannot be asked or written.
    """
    folder = None if folder is None else Path(folder)
    output = None if output is None else Path(output)
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
    rows = _judge(
        networks, known, extent, jobs=jobs, limits=limits or Limits(600, 8 * 2**30), store=store,
        minutes=minutes,
    )  # fmt: skip
    command = _command(chosen, folder, match, extent)
    left = len(networks) - len(rows)
    if left:
        note(f"{left} of {len(networks)} networks are left; go on with --resume")
    if output is not None:
        write_text(output, render_markdown(rows, command=command, versions=versions(), left=left))
    document = {
        "command": command,
        "versions": versions(),
        "summary": asdict(summarise(rows)),
        "networks": [row.to_json() for row in rows],
    }
    return Coverage(document, tuple(rows), left)


def _libraries(given: Sequence[str] | None, folder: Path | None) -> list[str]:
    if given is None:
        return list(LIBRARIES) if folder is None else []
    return list(given)


def _announce(networks: Sequence[str], known: int, *, everything: bool) -> None:
    """Say how much will be done, and where nothing was chosen, how to do less."""
    counts = Counter(name.partition(":")[0] for name in networks)
    kinds = ", ".join(f"{number:,} of {kind}" for kind, number in counts.items())
    kept = f"; {known:,} are known from before" if known else ""
    note(f"{counted(len(networks), 'network')} to judge: {kinds}{kept}")
    if everything:
        note(_FEWER)


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
    try:
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
                line(f"[{done}/{len(networks)}] {row.network} {row.verdict} {row.reason}".strip())
                if time.monotonic() >= end:
                    break
    except KeyboardInterrupt:
        if store is not None:
            note(f"the rows so far are in {store.path}; go on with --resume")
        raise
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
