"""What the slider over the time steps moves: the texts and widths of a page at each of its stops.

A page is written at its last step; `stepping` gives, by the key that stands in `data-at` and
`data-share`, what stands there at every stop. A page with many layers gets fewer stops, so that it
stays small.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from convsnn.report.document import Report
from convsnn.report.page.costs import spent
from convsnn.report.page.metrics import headline
from convsnn.report.page.summary import dead_fraction, row, shown_steps
from convsnn.report.templating import FILTERS

MOST_STOPS, FEWEST_STOPS = 64, 12
MOST_TEXTS = 12_000


def stops(report: Report) -> list[int]:
    """The steps that can be chosen: all that were scored, or of many a growing distance apart."""
    known = [s for s, value in enumerate(report["snn"]["agreement"], 1) if value is not None]
    columns = 4 * len(report["layers"]) + 2 * len(report["sources"])
    most = min(MOST_STOPS, max(FEWEST_STOPS, MOST_TEXTS // columns))
    return spaced(known, report["timesteps"], most)


def spaced(known: Sequence[int], total: int, most: int = MOST_STOPS) -> list[int]:
    """Of the steps `known` all, or of many about `most` a growing distance apart, those that a
    table shows among them."""
    if len(known) <= most:
        return list(known)
    wanted = {round(total ** (place / most)) for place in range(most + 1)}
    return sorted((wanted | set(shown_steps(total))) & set(known))


def rate_scale(report: Report) -> float:
    """The rate that fills the width of a bar: the highest of any layer at any stop."""
    return max(
        *(layer["firing_rate"][step - 1] for layer in report["layers"] for step in stops(report)),
        1e-9,
    )


def stepping(report: Report) -> str:
    """`stops`, `texts` and `shares` as JSON that can stand in a page."""
    chosen = stops(report)
    texts = {"step": [str(step) for step in chosen], **_whole(report, chosen)}
    for number, layer in enumerate(report["layers"]):
        texts |= {f"{key}{number}": found for key, found in _layer(layer, chosen).items()}
    for number, source in enumerate(report["sources"]):
        for key, name in (("events", "events"), ("sent", "synaptic_operations")):
            texts[f"{key}{number}"] = _said("amount", source[name], chosen)
    full = rate_scale(report)
    shares = {
        f"rate{number}": [round(layer["firing_rate"][step - 1] / full, 3) for step in chosen]
        for number, layer in enumerate(report["layers"])
    }
    found = {"stops": chosen, "texts": texts, "shares": shares}
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _whole(report: Report, chosen: Sequence[int]) -> dict[str, list[str]]:
    """What is said of the network as a whole."""
    rows, first = [row(report, step) for step in chosen], headline(report)
    texts = {
        "agreement": [FILTERS["percent"](at.agreement) for at in rows],
        "spent": [spent(report, step) for step in chosen],
    }
    for form in ("paper", "counted", "cached"):
        texts[form] = [FILTERS["significant"](getattr(at, form)) for at in rows]
    if first is not None:
        texts["score"] = [first.text(at.score) for at in rows]
        texts["drop"] = [FILTERS["points"](at.drop) for at in rows]
    return texts


def _layer(layer: Mapping[str, Any], chosen: Sequence[int]) -> dict[str, list[str]]:
    dead = layer["dead_fraction"]
    deaths = dead if isinstance(dead, list | tuple) else [dead_fraction(layer)] * chosen[-1]
    spikes, operations = layer["firing_rate"], layer["synaptic_operations"]
    # spikes that reach no weights themselves have a dash in the place of their operations
    passed_on = spikes[-1] and not operations[-1]
    return {
        "rate": _said("significant", spikes, chosen),
        "sin": _said("percent", layer["sin_ratio"], chosen),
        "dead": _said("percent", deaths, chosen),
        "ops": ["–"] * len(chosen) if passed_on else _said("amount", operations, chosen),
    }


def _said(wording: str, values: Sequence[float], chosen: Sequence[int]) -> list[str]:
    return [FILTERS[wording](values[step - 1]) for step in chosen]
