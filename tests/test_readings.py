"""What can be read off a chart is what is drawn, where it is drawn."""

import html
import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.ticker import PercentFormatter

from convsnn.report.readings import APART, Cells
from convsnn.report.svg import draw


def read(svg: str) -> list[dict[str, Any]]:
    """The readings of a drawing, as a browser would parse them."""
    found = re.search(r"data-readings='([^']*)'", svg)
    assert found is not None
    return json.loads(html.unescape(found[1]))


def markers(svg: str) -> list[tuple[float, float]]:
    """Where matplotlib put the markers of its lines."""
    group = svg[svg.index('id="c-line-0"') :]
    places = re.findall(r'<use [^>]*\bx="([^"]*)" y="([^"]*)"', group[: group.index("</g>\n  ")])
    return [(float(x), float(y)) for x, y in places]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.floats(-5, 5, allow_subnormal=False), min_size=2, max_size=30),
    st.booleans(),
)
def test_points_are_where_the_markers_are(values: list[float], log: bool) -> None:
    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.set_xscale("log" if log else "linear")
        axes.set_xlabel("time steps")
        axes.plot(range(1, len(values) + 1), values, marker="o", label="a 'line' & <more>")

    svg = draw("c", paint, size=(5.3, 3.5), label="")
    (panel,) = read(svg)
    (line,) = panel["lines"]
    assert (panel["x"], panel["log"], line["name"]) == ("time steps", log, "a 'line' & <more>")
    assert [line["at"][0], line["at"][-1]] == ["1", str(len(values))]
    for place in zip(line["x"], line["y"], strict=True):
        assert min(abs(x - place[0]) + abs(y - place[1]) for x, y in markers(svg)) < 0.2
    assert f'id="{line["id"]}"' in svg


def test_a_long_line_is_thinned_to_what_can_be_told_apart() -> None:
    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.plot(np.arange(5000.0), np.arange(5000.0), label="long")
        axes.plot([0, 1], [0, 1])  # without a label: background, nothing to read

    (panel,) = read(draw("c", paint, size=(5, 3), label=""))
    (line,) = panel["lines"]
    assert len(line["x"]) < 5 * 72 / APART + 2
    assert (line["is"][0], line["is"][-1]) == ("0", "4999")


@pytest.mark.parametrize("lying", [True, False])
def test_bars_levels_and_cells(lying: bool) -> None:
    def paint(figure: Any) -> None:
        bars, cells = figure.subplots(1, 2)
        (bars.barh if lying else bars.bar)(["one", "two"], [0.25, 0.5])
        (bars.xaxis if lying else bars.yaxis).set_major_formatter(PercentFormatter(1.0))
        bars.axhline(1.0, label="level")
        cells.pcolormesh(np.array([[0.0, 0.5, np.nan], [1.0, 0.1, 0.2]]))

    bars, cells = read(
        draw("c", paint, size=(5, 3), label="", cells=Cells(["r", "s"], ["1", "2", "4"]))
    )
    assert [(m["name"], m["is"]) for m in bars["marks"]] == [("one", "25.00 %"), ("two", "50.00 %")]
    assert [level["name"] for level in bars["levels"]] == ["level"]
    for left, top, right, bottom in (mark["box"] for mark in bars["marks"]):
        assert left < right
        assert top < bottom
    assert cells["grid"]["is"] == [["0.00 %", "50.00 %", "-"], ["100.00 %", "10.00 %", "20.00 %"]]
    assert len(cells["grid"]["xs"]) == 4
