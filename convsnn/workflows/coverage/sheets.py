"""Coverage as CSV: a row for every network, whatever its verdict, and what keeps networks out."""

from collections.abc import Sequence

from convsnn.report.sheets import SECONDS, Sheet
from convsnn.workflows.coverage.table import grouped
from convsnn.workflows.coverage.verdict import Row

_NETWORK = {
    "network": "",
    "family": "",
    "verdict": "",
    "reason": "",
    "kind": "",
    "sites": "",
    "census.rectifiers": "count by kind",
    "census.activations": "count by kind",
    "census.norms": "count by kind",
    "parameters": "",
    "input_shape": "",
    "checked": "",
    "gap": "of what the output moves",
    "seconds": SECONDS,
    "digest": "",
}


def coverage_sheets(rows: Sequence[Row]) -> list[Sheet]:
    """The networks first."""
    networks = [
        {**row.to_json(), **{f"census.{name}": found for name, found in vars(row.census).items()}}
        for row in rows
    ]
    refused = [
        {"because": cause, "network": network}
        for cause, networks in grouped(rows).items()
        for network in networks
    ]
    return [
        Sheet("networks", _NETWORK, networks),
        Sheet("refused", {"because": "", "network": ""}, refused),
    ]
