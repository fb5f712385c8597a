"""The table of coverage as it is read: what converts, what is refused and why, what failed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convsnn.report.wording import counted, percent, significant
from convsnn.spiking.kinds import ANALOG, BINARY, KINDS
from convsnn.workflows.coverage.verdict import EXACT, FAILED, OPTION, REFUSED, Row

_READY = ("network", "verdict", "activations", "parameters", "gap")
_BLOCKED = ("because of", "networks")
TITLE = "# Which networks convert"
_VERDICTS = {EXACT: "exact", OPTION: "with an option", REFUSED: "refused", FAILED: "failed"}


@dataclass(frozen=True)
class Summary:
    """Counts: per verdict, of the networks of rectifiers and batch norm how many convert, and per
    kind of network of those that convert."""

    verdicts: Mapping[str, int]
    full: int
    rectified: int
    rectified_convert: int
    kinds: Mapping[str, int]

    @property
    def share(self) -> float | None:
        """Share of the networks of rectifiers and batch norm that convert."""
        return self.rectified_convert / self.rectified if self.rectified else None


def converts(row: Row) -> bool:
    """Whether a network becomes spiking, exactly or with a named option."""
    return row.verdict in (EXACT, OPTION)


def summarise(rows: Sequence[Row]) -> Summary:
    """What stands above the table."""
    counts = Counter(row.verdict for row in rows)
    rectified = [row for row in rows if row.census.rectified and row.census.batch_normed]
    return Summary(
        {verdict: counts[verdict] for verdict in _VERDICTS},
        sum(converts(row) and row.checked == "full" for row in rows),
        len(rectified),
        sum(converts(row) for row in rectified),
        _kinds(rows),
    )


def _kinds(rows: Sequence[Row]) -> dict[str, int]:
    """How many of those that convert are of each kind; rows of older runs say nothing."""
    counts = Counter(row.kind or BINARY for row in rows if converts(row))
    return {kind: counts[kind] for kind in KINDS}


def _sentences(rows: Sequence[Row]) -> list[str]:
    found = summarise(rows)
    counts = ", ".join(f"{found.verdicts[v]:,} {word}" for v, word in _VERDICTS.items())
    ready = found.verdicts[EXACT] + found.verdicts[OPTION]
    return [
        f"{counted(len(rows), 'network')}: {counts}.",
        f"{found.rectified:,} have no activation but rectifiers (ReLU, ReLU6, clamp at 0, "
        f"LeakyReLU, PReLU) and no norm but batch norm, counted while they run; of these "
        f"{found.rectified_convert:,} convert ({percent(found.share)}).",
        "As spiking networks those that convert are "
        + ", ".join(f"{kind}: {number:,}" for kind, number in found.kinds.items())
        + ".",
        f"Of the {ready:,} that convert, {found.full:,} were compared with the original, "
        "converted and simulated, as --full asks for; the others were read only.",
    ]


def _activations(row: Row) -> str:
    """`relu 17`, or the number of sites where they could not be counted by kind."""
    if row.sites is not None and row.sites != row.census.sites:
        return counted(row.sites, "site")
    kinds = sorted(row.census.rectifiers.items())
    if row.kind == ANALOG:
        kinds += sorted(row.census.activations.items())
    return ", ".join(f"{kind} {number}" for kind, number in kinds)


def _verdict(row: Row) -> str:
    if row.verdict == OPTION:
        return f"with {row.reason}"
    return f"{row.verdict}; {row.reason}" if row.reason else row.verdict


def _size(row: Row) -> str:
    return "-" if row.parameters is None else f"{row.parameters:,}"


def _gap(row: Row) -> str:
    return "-" if row.gap is None else significant(row.gap, 2)


def _cells(row: Row) -> list[str]:
    return [row.network, _verdict(row), _activations(row), _size(row), _gap(row)]


def _cause(row: Row) -> str:
    """The activations and norms that keep a network out; without any, the ops that do."""
    norms = set(row.census.norms) - {"batch norm"}
    return ", ".join([*sorted(row.census.activations), *sorted(norms)] or sorted(row.because)) or (
        row.reason
    )


def grouped(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Refused networks by what keeps them out, most networks first; a family that is refused as a
    whole for the same cause is one entry."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row.verdict == REFUSED:
            groups.setdefault(_cause(row), []).append(row)
    totals = Counter(_family(row) for row in rows)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return {reason: _members(members, totals) for reason, members in ordered}


def _family(row: Row) -> tuple[str, str]:
    return row.network.partition(":")[0], row.family


def _members(rows: Sequence[Row], totals: Mapping[tuple[str, str], int]) -> list[str]:
    counts = Counter(_family(row) for row in rows)
    found: dict[str, None] = {}
    for row in rows:
        key = _family(row)
        whole = counts[key] == totals[key] > 1
        entry = f"{key[0]}:{key[1]} (all {totals[key]})" if whole else row.network
        found[entry] = None
    return list(found)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> str:
    """A table whose last `numbers` columns are right-aligned."""
    marks = ["---"] * (len(titles) - numbers) + ["---:"] * numbers
    lines = [titles, marks, *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def render_markdown(
    rows: Sequence[Row], *, command: str, versions: Mapping[str, str], left: int = 0
) -> str:
    """The file COVERAGE.md; `left` networks of the command's choice were not judged yet."""
    made = ", ".join(f"{name} {version}" for name, version in versions.items())
    parts = [
        TITLE,
        f"Made by `{command}` with {made}.",
        *_sentences(rows),
        *([f"Not judged yet: {counted(left, 'network')}."] if left else []),
        "*exact*: every activation becomes a population of neurons, and all that is between them "
        "is computed as it is. *gap*: the largest difference of the imported network's output to "
        "the original's on random input, in units of how far that moves from input to input; a "
        "dash where it was not compared. *could not be counted*: activations are "
        "written out in pieces, and only the import says how many they are. *refused*: it would "
        "stay analog somewhere; `convsnn inspect` names every such layer, here stand the "
        "activations and norms, or where those are all fine the ops, that keep it out. *failed*: a "
        "fault of convsnn.",
    ]
    ready = [row for row in rows if converts(row)]
    if ready:
        cells = [_cells(row) for row in ready]
        parts += [f"## Converts ({len(ready):,})", _markdown_table(_READY, cells, 2)]
    refused = grouped(rows)
    if refused:
        number = Counter(row.verdict for row in rows)[REFUSED]
        cells = [[reason, ", ".join(members)] for reason, members in refused.items()]
        parts += [f"## Refused ({number:,})", _markdown_table(_BLOCKED, cells, 0)]
    failed = [row for row in rows if row.verdict == FAILED]
    if failed:
        cells = [[row.network, row.reason] for row in failed]
        parts += [f"## Failed ({len(failed):,})", _markdown_table(("network", "why"), cells, 0)]
    return "\n\n".join(parts) + "\n"


def _plain_table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in titles:
        right = title in ("parameters", "gap")
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    return table


def render_terminal(rows: Sequence[Row]) -> RenderableType:
    """The same as a rich renderable for 80 columns."""
    compared = any(row.gap is not None for row in rows)
    ready = _plain_table("converts", *(_READY[1:] if compared else _READY[1:-1]))
    refused, failed = _plain_table("refused because of", "networks"), _plain_table("failed", "why")
    for row in rows:
        if converts(row):
            ready.add_row(*[Text(cell) for cell in _cells(row)[: len(ready.columns)]])
        elif row.verdict == FAILED:
            failed.add_row(Text(row.network), Text(row.reason, style="red"))
    for reason, members in grouped(rows).items():
        refused.add_row(Text(reason), Text(", ".join(members)))
    tables = [table for table in (ready, refused, failed) if table.row_count]
    return Group(
        *[part for table in tables for part in (table, Text())],
        *[Text(sentence) for sentence in _sentences(rows)],
    )
