"""The refusal as a piece of user interface: every offender by name, grouped by why."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convsnn.errors import Blocker


def fatal_first(items: Sequence[Blocker]) -> list[Blocker]:
    """Those that nothing can be done about before the others, whose remedies then help nobody."""
    return sorted(items, key=lambda item: bool(item.remedy))


def render_blockers(items: Sequence[Blocker]) -> RenderableType:
    """One block per reason: the op, why it blocks, what to do, then every layer of it."""
    lines: list[RenderableType] = []
    items = fatal_first(items)
    beside = any(not item.remedy for item in items)
    groups: dict[tuple[str, str, str], list[Blocker]] = {}
    for item in items:
        groups.setdefault((item.op, item.reason, item.remedy), []).append(item)
    for (op, reason, remedy), members in groups.items():
        lines.append(Text.assemble((f"{op} x{len(members)}", "bold red"), f": {reason}"))
        if not beside or not remedy:
            way = remedy or "nothing here; this network cannot enter"
            lines.append(Text(f"  what to do: {way}"))
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column("layer", overflow="fold")
        table.add_column("source", style="dim")
        for member in members:
            table.add_row(Text("  " + member.layer), Text(member.source))
        lines.append(table)
    return Group(*lines)
