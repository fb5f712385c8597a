"""`fit`: what of a network does not fit a chip, what would, and an estimate of spikes and energy.

    joules = synaptic operations of an image * joules of one + neurons * steps * joules of an update

from the counts of a report and the figures in the chip's table: an estimate, not a measurement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convsnn.measure.chip_fit import fit_chip
from convsnn.measure.chip_table import Chip, load_chip
from convsnn.report.sheets import Sheet
from convsnn.spiking.network import Spiking
from convsnn.workflows.export.network import report_beside
from convsnn.workflows.running.result import Result
from convsnn.workflows.subject.saved import load_saved

_LIMITS = ("limit", "most", "needed", "layer", "fits", "remedy", "source", "confirmed")
_UNSURE = " (quoted, not confirmed)"


@dataclass(frozen=True, repr=False)
class Fit(Result):
    """`document`: chip, about, fits, findings [...], estimate {...} or null."""

    @property
    def fits(self) -> bool:
        """Whether nothing was found that does not fit."""
        return bool(self.document["fits"])

    def about(self) -> str:
        """Whether it fits, in a line."""
        wrong = [f["limit"] for f in self.document["findings"] if not f["fits"]]
        chip = self.document["chip"]
        return f"fits {chip}" if not wrong else f"does not fit {chip}: {', '.join(wrong)}"

    def sheets(self) -> Sequence[Sheet]:
        """See `Tabled`."""
        return [Sheet("limits", dict.fromkeys(_LIMITS, ""), self.document["findings"])]

    def render(self, *, width: int) -> RenderableType:
        """The table of limits, what to do, the estimate and the sources."""
        del width  # it folds
        return Group(_table(self.document), *_remarks(self.document))


def fit(
    net: Spiking | str | Path,
    chip: str | Path,
    *,
    weight_bits: int | None = None,
    report: Mapping[str, Any] | None = None,
) -> Fit:
    """Check `net`, or the network of a result directory, against a chip's name or FILE.toml.

    `weight_bits` are those that weights will be rounded to (default: those it was converted with).
    The estimate takes the spikes that `report` (a report.json; that of a result directory is found
    by itself) has counted.
    """
    place = None if isinstance(net, Spiking) else net
    if not isinstance(net, Spiking):
        report = report or report_beside(Path(net))
        net = load_saved(Path(net))
    if weight_bits is None:
        weight_bits = net.provenance.get("engine", {}).get("weight_bits")
    found = load_chip(str(chip))
    findings = [finding.to_json() for finding in fit_chip(net, found, weight_bits=weight_bits)]
    return Fit(
        {
            "chip": found.name,
            "about": found.about,
            "fits": all(finding["fits"] for finding in findings),
            "findings": findings,
            "estimate": None if report is None else _estimate(net, found, report),
            "artifact": None if place is None else str(place),
        }
    )


def _estimate(net: Spiking, chip: Chip, report: Mapping[str, Any]) -> dict[str, Any]:
    steps = report["timesteps"]
    neurons = sum(prod(site.shape) for site in net.graph.sites.values())
    spikes = sum(layer["firing_rate"][-1] * layer["neurons"] * steps for layer in report["layers"])
    operations = sum(
        entry["synaptic_operations"][-1] for entry in (*report["layers"], *report["sources"])
    )
    costs = {key: figure.value for key, figure in chip.energy.items()}
    joules = None
    if len(costs) == 2:
        joules = operations * costs["synaptic_operation"] + neurons * steps * costs["neuron_update"]
    return {
        "timesteps": steps,
        "neurons": neurons,
        "spikes": spikes,
        "synaptic_operations": operations,
        "joules": joules,
        "energy": {
            key: {"joules": figure.value, "source": figure.source, "confirmed": figure.confirmed}
            for key, figure in chip.energy.items()
        },
    }


def _table(document: Mapping[str, Any]) -> Table:
    table = Table("limit", "chip", "network", "where", "", box=None, pad_edge=False)
    for finding in document["findings"]:
        good = finding["fits"]
        said = ("fits" if good else "does not") + ("" if finding["confirmed"] else _UNSURE)
        table.add_row(
            finding["limit"], _shown(finding["most"]), _shown(finding["needed"]),
            Text(finding["layer"]), Text(said, "" if good else "red"),
        )  # fmt: skip
    return table


def _remarks(document: Mapping[str, Any]) -> list[Text]:
    lines = [""]
    wrong = [f for f in document["findings"] if not f["fits"]]
    lines += [f"{f['limit']}: {f['remedy']}" for f in wrong]
    if not wrong:
        lines.append(f"nothing here keeps it off {document['chip']}")
    lines += ["", *_costs(document), "", "Sources"]
    figures = document["findings"] + list((document["estimate"] or {}).get("energy", {}).values())
    for source in dict.fromkeys(
        f["source"] + ("" if f["confirmed"] else _UNSURE) for f in figures if f["source"]
    ):
        lines.append(f"  {source}")
    return [Text(line) for line in lines]


def _costs(document: Mapping[str, Any]) -> list[str]:
    found = document["estimate"]
    if found is None:
        place = document["artifact"] or "ARTIFACT"
        return [f"no spikes were counted: convsnn evaluate {quote(place)} -o DIR counts them"]
    lines = [
        f"an image, {found['timesteps']} steps: {found['spikes']:,.0f} spikes of "
        f"{found['neurons']:,} neurons, {found['synaptic_operations']:,.0f} synaptic operations"
    ]
    if found["joules"] is None:
        return [*lines, "no energies are in the table of this chip, so none is estimated"]
    sure = all(figure["confirmed"] for figure in found["energy"].values())
    estimate = f"estimate, not measured: {1e3 * found['joules']:.3g} mJ an image"
    return [*lines, estimate if sure else f"{estimate}, from figures{_UNSURE}"]


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.0f}"
