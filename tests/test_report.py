"""The report: its schema, the terminal table, the HTML page, files that are never half there."""

import copy
import html
import io
import json
import os
import re
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from rich.console import Console

from convsnn.errors import ConfigError, ExportError, MissingExtraError
from convsnn.report import files, wording
from convsnn.report.document import SCHEMA, to_json, validate
from convsnn.report.files import ResultDirectory, write_bytes_via, write_text
from convsnn.report.page import charts, summary
from convsnn.report.page.html import render_html
from convsnn.report.page.table import render_table


def sample(
    names: list[str], steps: int, *, labels: bool = True, max_pool: str = "exact"
) -> dict[str, Any]:
    """A report as a conversion of VGG size could give it, with one layer per name."""
    rise = [1 - 0.9 * 0.93 ** (t + 1) for t in range(steps)]
    depth = max(len(names) - 1, 1)
    layers = [
        {
            "name": name,
            "kind": "if",
            "neurons": 65536 >> (i // 3),
            "threshold": {"min": 0.4 + 0.1 * i, "mean": 1.0 + 0.1 * i, "max": 2.5 + 0.1 * i},
            "firing_rate": [(0.22 - 0.19 * i / depth) * (0.5 + 0.5 * r) for r in rise],
            "sin_ratio": [0.35 * (i + 1) / (depth + 1) * (1 - r) + 0.01 * i / depth for r in rise],
            "synaptic_operations": [3.1e5 * (t + 1) * (1 + i % 4) for t in range(steps)],
            "dead_fraction": 0.02 + 0.3 * i / depth,
        }
        for i, name in enumerate(names)
    ]
    graded = [("input", "input"), ("features.pool1", "max_pool"), ("avgpool", "avg_pool")]
    return {
        "schema": 1,
        "convsnn": "0.1.0",
        "command": "convsnn convert vgg16.onnx --data cifar10 --timesteps 128 --seed 0",
        "seed": 0,
        "timesteps": steps,
        "precision": "float32",
        "model": {
            "name": "vgg16_bn",
            "source": "vgg16.onnx",
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "parameters": 14_723_136,
            "thresholds": len(names),
            "input_shape": [3, 32, 32],
        },
        "data": {
            "calibration": {"source": "cifar10", "split": "train", "samples": 512},
            "evaluation": {"source": "cifar10", "split": "test", "samples": 10_000},
        },
        "method": {
            "calibration": "percentile:q=99.9",
            "neuron": "if",
            "encoder": "direct",
            "max_pool": max_pool,
            "chunk": 16,
            "verify": True,
        },
        "ann": {
            "accuracy": 0.9164 if labels else None,
            "energy_joules": 1.44e-3,
            "macs": 313_201_664,
        },
        "snn": {
            "accuracy": [0.1 + 0.81 * r for r in rise] if labels else None,
            "agreement": [0.1 + 0.86 * r for r in rise],
            "seconds": 41.3,
        },
        "energy": {
            "paper": [0.011 * (t + 1) for t in range(steps)],
            "counted": [0.016 * (t + 1) for t in range(steps)],
            "cached": [0.005 + 0.013 * (t + 1) for t in range(steps)],
        },
        "layers": layers,
        "sources": [
            {
                "name": name,
                "kind": kind,
                "events": [3072.0 * (t + 1) for t in range(steps)],
                "synaptic_operations": [1.7e6 * (t + 1) for t in range(steps)],
            }
            for name, kind in graded
        ],
        "not_counted": ["membrane potential updates", "memory traffic"],
        "versions": {"python": "3.11.2", "torch": "2.15.0", "numpy": "2.4.6"},
    }


DEEP = [f"features.denseblock{i // 7 + 1}.denselayer{i % 7 + 1}.relu" for i in range(20)]
HOSTILE = [
    '<script>alert("1")</script> & <b>',
    "a" * 300,
    'url(#x) href="#y" #0a0b01',
    "cost $x_1$ [bold]not markup[/bold] \N{SNOWMAN} \N{CJK UNIFIED IDEOGRAPH-5C42}",
    "/features/features.0/features.0.2/Relu_output_0/with/a/very/long/onnx/path/and/more",
]
REPORTS = {
    "twenty layers": sample(DEEP, 128),
    "one step": sample(["0", "2"], 1, max_pool="current"),
    "no labels": sample(DEEP[:5], 100, labels=False),
    "long names": sample(HOSTILE, 33),
}
REPORTS["nothing graded"] = {**sample(["relu"], 4), "sources": [], "not_counted": []}


# --- document ---------------------------------------------------------------------------------


def paths(spec: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if at:
        yield at
    if isinstance(spec, list):
        yield from paths(spec[0], (*at, 0))
    elif isinstance(spec, Mapping):
        for key, inner in spec.items():
            yield from paths(inner, (*at, key))


def spelled(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).removeprefix(".")


def changed(
    path: tuple[str | int, ...], value: Any = None, *, drop: bool = False
) -> dict[str, Any]:
    report = copy.deepcopy(REPORTS["one step"])
    place: Any = report
    for part in path[:-1]:
        place = place[part]
    if drop:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return report


PATHS = list(paths(SCHEMA))


@pytest.mark.parametrize("name", REPORTS)
def test_the_samples_are_valid_and_survive_json(name: str) -> None:
    validate(REPORTS[name])
    assert json.loads(to_json(REPORTS[name])) == REPORTS[name]


@pytest.mark.parametrize("path", [p for p in PATHS if isinstance(p[-1], str)], ids=spelled)
def test_each_missing_key_is_named(path: tuple[str | int, ...]) -> None:
    with pytest.raises(ExportError, match=re.escape(spelled(path))):
        validate(changed(path, drop=True))


@pytest.mark.parametrize(
    "value", [object(), float("nan"), 10**400, [1, 2, "x"]], ids=lambda v: type(v).__name__
)
@pytest.mark.parametrize("path", PATHS, ids=spelled)
def test_each_wrong_value_is_named(path: tuple[str | int, ...], value: Any) -> None:
    with pytest.raises(ExportError, match=re.escape(spelled(path))):
        validate(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("snn", "agreement"), [0.5, 0.5], "snn.agreement has 2 values for 1 time steps"),
        (("layers", 1, "sin_ratio"), [1.5], r"layers\[1\].sin_ratio\[0\] is not within 0..1"),
        (("ann", "accuracy"), None, "both be null"),
        (("layers",), [], "layers is empty"),
        (("timesteps",), 0, "timesteps"),
        (("ann", "energy_joules"), -1.0, "ann.energy_joules is negative"),
    ],
)
def test_what_does_not_fit_together_is_refused(path: Any, value: Any, words: str) -> None:
    with pytest.raises(ExportError, match=words):
        validate(changed(path, value))


def test_a_report_that_is_no_object_is_refused() -> None:
    for wrong in (None, [], "report"):
        with pytest.raises(ExportError, match="not an object"):
            validate(wrong)  # type: ignore[arg-type]


plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
documents = st.dictionaries(
    st.text(),
    st.recursive(plain, lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=8),
)


@given(documents)
def test_json_is_what_python_reads_back(report: dict[str, Any]) -> None:
    assert json.loads(to_json(report)) == report


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1}, b"x"], ids=repr)
def test_json_names_the_key_it_cannot_write(value: Any) -> None:
    with pytest.raises(ExportError, match=r"layers\[0\].sin_ratio\[1\] is"):
        to_json({"layers": [{"sin_ratio": [0.5, value]}]})


# --- summary and wording ----------------------------------------------------------------------


@given(st.integers(1, 5000))
def test_shown_steps_double_and_end_at_the_last(total: int) -> None:
    steps = summary.shown_steps(total)
    assert steps[0] == 1
    assert steps[-1] == total
    assert all(b == 2 * a for a, b in pairwise(steps[:-1]))
    assert steps == sorted(set(steps))


def test_the_settled_step_and_the_last_step_below_the_ann() -> None:
    report = sample(["relu"], 6)
    report["snn"]["accuracy"] = [0.1, 0.5, 0.896, 0.9, 0.88, 0.9]
    report["energy"]["paper"] = [0.2, 0.6, 1.0, 1.1, 1.2, 1.3]
    assert summary.settled_step(report) == 3
    assert summary.steps_below_ann(report, "paper") == 3
    assert summary.row(report, 4).drop == pytest.approx(0.0164)


@given(st.floats(-1e300, 1e300))
def test_three_significant_digits_are_within_half_a_percent(value: float) -> None:
    text = wording.significant(value)
    assert float(text) == pytest.approx(value, rel=0.00501, abs=1e-320)


def test_units() -> None:
    assert wording.joules(1.4407e-3) == "1.44 mJ"
    assert wording.joules(2.3e-10) == "230 pJ"
    assert wording.amount(313_201_664) == "313 M"
    assert wording.amount(999) == "999"
    assert wording.points(-0.00001) == "0.00"
    assert wording.significant(0.09999) == "0.100"


def test_names_of_nodes_are_said_as_paths_of_modules() -> None:
    older = ["/Relu", "/blocks/blocks.0/act/Relu", "/blocks/blocks.1/Relu_1"]
    assert wording.distinct(older) == ["Relu", "blocks.0.act.Relu", "blocks.1.Relu_1"]
    assert wording.distinct(["/a/act/Relu", "/b/act/Relu"]) == ["a", "b"]
    assert wording.distinct(["/a/b", "a.b"]) == ["/a/b", "a.b"]


@given(st.lists(st.text("ab./", min_size=1), min_size=2, unique=True), st.integers(5, 30))
def test_shortened_names_fit_and_distinct_names_stay_distinct(names: list[str], width: int) -> None:
    assert len(set(wording.distinct(names))) == len(names)
    assert all(len(wording.shortened(name, width)) <= width for name in names)


# --- table ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPORTS)
def test_the_table_fits_80_columns_without_colour(name: str) -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(render_table(REPORTS[name]))
    text = out.getvalue()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for row in summary.rows(REPORTS[name]):
        assert re.search(rf"(?m)^{row.step} .*{wording.percent(row.agreement)}", text)
    assert ("drop" in text) == (REPORTS[name]["ann"]["accuracy"] is not None)


def test_the_table_takes_layer_names_as_they_are() -> None:
    out = io.StringIO()
    Console(file=out, width=200).print(render_table(REPORTS["long names"]))
    assert "[bold]not markup[/bold]" in out.getvalue()


# --- page -------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The visible text, the tags and the ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split()).replace("\N{NO-BREAK SPACE}", " ")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(key, value or "") for key, value in attrs]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] not in ("style", "script"):
            self.words.append(data)


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: render_html(report) for name, report in REPORTS.items()}


@pytest.mark.parametrize("name", REPORTS)
def test_the_page_stands_alone(pages: dict[str, str], name: str) -> None:
    text = pages[name]
    assert not re.search(r"https?:", re.sub(r'xmlns(:\w+)?="[^"]*"', "", text))
    assert not re.search(r"@import|url\((?!#)", text)
    page = Page(text)
    assert not {"link", "image", "iframe", "object"} & set(page.tags)
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text  # so no other script runs
    assert not re.search(r"\bfetch\b|XMLHttp|import|innerHTML|eval", script)
    ids = [value for key, value in page.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    links = {v for k, v in page.attributes if k in ("href", "xlink:href", "src")}
    assert links <= {f"#{i}" for i in ids}
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= {*ids, "x"}  # x: a hostile layer name
    assert page.tags.count("svg") == 3
    drawn = re.sub(r"data-readings='[^']*'", "", text).replace("#0a0b01<", "")
    assert "#0a0b0" not in drawn, "a colour that only stands for a CSS variable is left"


@pytest.mark.parametrize("name", REPORTS)
def test_the_page_tells_everything(pages: dict[str, str], name: str) -> None:
    report, page = REPORTS[name], Page(pages[name])
    for layer in report["layers"]:
        assert layer["name"] in page.text
    for words in (report["command"], report["model"]["sha256"], "percentile:q=99.9", "2.15.0"):
        assert words in page.text
    for words in [*report["not_counted"], *(source["name"] for source in report["sources"])]:
        assert words in page.text
    assert ("Max pooling is among them" in page.text) == bool(report["sources"])
    assert "512 samples of cifar10, split train" in page.text
    assert "10,000 samples of cifar10, split test" in page.text


def test_points_of_a_chart_are_the_steps_that_were_run(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []

    def paint(name: str, painted: Any, **_: Any) -> str:
        with matplotlib.style.context("default"):
            painted(figure := Figure())
        drawn.append(figure.axes[0])
        return name

    monkeypatch.setattr(charts, "draw", paint)
    report = sample(["a"], 8)
    for schedule, marked, style in (("layers", range(1, 9), "None"), ("steps", (1, 2, 4, 8), "-")):
        shown = report | {"schedule": {"name": schedule}}
        charts.accuracy_chart(shown)
        charts.energy_chart(shown)
        lines = [line for axes in drawn[-2:] for line in axes.lines if line.get_label() != "ANN"]
        assert len(lines) == 5
        for line in lines:
            every = line.get_markevery()
            at = line.get_xdata()
            assert [at[place] for place in range(8) if every is None or place in every] == [*marked]
            assert line.get_linestyle() == style


def test_a_layer_named_like_a_reference_keeps_its_name_in_the_charts(pages: dict[str, str]) -> None:
    assert pages["long names"].count(">3 url(#x) ") == 1


@pytest.mark.parametrize("name", REPORTS)
def test_the_slider_ends_at_what_the_page_says_without_it(pages: dict[str, str], name: str) -> None:
    text, report = pages[name], REPORTS[name]
    found = re.search(r'id="steps">(.*?)</script>', text, flags=re.DOTALL)
    assert found is not None
    moved = json.loads(found[1])
    stops, texts, shares = moved["stops"], moved["texts"], moved["shares"]
    assert set(summary.shown_steps(report["timesteps"])) <= set(stops)
    assert {len(series) for series in [*texts.values(), *shares.values()]} == {len(stops)}
    written = re.findall(r'data-at="([^"]*)"[^>]*>([^<]*)<', text[: text.index("<script>")])
    assert {key for key, _ in written} == texts.keys()
    assert all(html.unescape(said) == texts[key][-1] for key, said in written)
    for key, share in re.findall(r'data-share="([^"]*)" style="--share: ([^"]*)"', text):
        assert shares[key][-1] == float(share)
    first = report["layers"][0]["firing_rate"]
    assert texts["rate0"] == [wording.significant(first[step - 1]) for step in stops]


def test_a_page_of_many_layers_stays_small() -> None:
    report = sample([f"stages.{i // 10}.blocks.{i % 10}.act" for i in range(100)], 1024)
    assert len(render_html(report)) < 1_000_000


def test_warnings_stand_on_top_and_once() -> None:
    report = {**REPORTS["one step"], "doubt": "is a coin", "warnings": ["is a coin", "was late"]}
    text = Page(render_html(report)).text
    assert text.count("is a coin") == text.count("was late") == 1
    assert text.index("was late") < text.index("After 1 time step")


def test_without_labels_nothing_is_said_of_accuracy(pages: dict[str, str]) -> None:
    page = Page(pages["no labels"])
    assert "accuracy" not in page.text.lower().replace("so there is no accuracy", "")
    assert "None" not in page.text
    assert "Drop" not in page.text


def test_calibrating_on_the_scored_split_is_pointed_out() -> None:
    report = copy.deepcopy(REPORTS["one step"])
    report["data"]["calibration"]["split"] = "test"
    assert "may be too good" in render_html(report)
    assert "may be too good" not in render_html(REPORTS["one step"])


def test_a_layer_charged_behind_it_has_a_dash_and_a_silent_one_its_nought() -> None:
    report = sample(["a", "b", "c"], 4)
    first, second = report["layers"][:2]
    first["synaptic_operations"] = second["synaptic_operations"] = [0.0] * report["timesteps"]
    second["firing_rate"] = [0.0] * report["timesteps"]
    page = render_html(report)
    table = page[page.index('class="layers"') :]
    cells = re.findall(r'<td data-at="ops\d+">([^<]*)</td></tr>', table[: table.index("</table>")])
    assert cells[:2] == ["–", "0"]
    assert "–" not in cells[1:]


def test_the_page_is_the_same_whatever_the_drawing_settings(pages: dict[str, str]) -> None:
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "svg.hashsalt": "other"}):
        before = dict(matplotlib.rcParams)
        assert render_html(REPORTS["twenty layers"]) == pages["twenty layers"]
        assert dict(matplotlib.rcParams) == before


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError) as caught:
        render_html(REPORTS["one step"])
    assert "convsnn[report]" in caught.value.hint


@pytest.mark.parametrize("render", [render_html, render_table, validate])
def test_a_damaged_report_is_refused_everywhere(render: Any) -> None:
    with pytest.raises(ExportError, match="energy"):
        render(changed(("energy",), drop=True))


# --- files ------------------------------------------------------------------------------------


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else ""
        for path in folder.rglob("*")
    }


OURS = '{"schema": 1, "convsnn": "0.1.0"}'
STOPS = [ValueError, KeyboardInterrupt, SystemExit, OSError]


def test_text_is_replaced_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "one")
    write_text(tmp_path / "a.txt", "two\n")
    assert tree(tmp_path) == {"a.txt": "two\n"}


@pytest.mark.parametrize("stop", STOPS)
def test_a_writer_that_fails_leaves_the_file_as_it_was(tmp_path: Path, stop: Any) -> None:
    target = tmp_path / "net.onnx"
    target.write_text("old")

    def writer(temporary: Path) -> None:
        assert temporary.suffix == ".onnx"
        temporary.write_text("half")
        raise stop("stopped")

    with pytest.raises(ExportError if stop is OSError else stop):
        write_bytes_via(target, writer)
    assert tree(tmp_path) == {"net.onnx": "old"}


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    for place in ("file/a.txt", "absent/a.txt", "pipe", ".", "n" * 300):
        with pytest.raises(ExportError, match=re.escape(str(tmp_path / place))):
            write_text(tmp_path / place, "x")
    with pytest.raises(ExportError, match="not Unicode"):
        write_text(tmp_path / "b.txt", "\ud800")
    assert not list(tmp_path.glob(".convsnn-*"))
    assert not (tmp_path / "b.txt").exists()


@pytest.mark.parametrize("before", [None, "empty", "ours"])
def test_a_result_directory_appears_whole(tmp_path: Path, before: str | None) -> None:
    target = tmp_path / "out"
    if before:
        target.mkdir()
    if before == "ours":
        (target / "report.json").write_text(OURS)
        (target / "stale.onnx").write_text("old")
    with ResultDirectory(target, force=before == "ours") as folder:
        (folder / "report.json").write_text("new")
        assert not (target / "report.json").exists() or before == "ours"
    assert tree(tmp_path) == {"out": "", "out/report.json": "new"}


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("before", [False, True])
def test_a_stopped_run_leaves_all_as_it_was(tmp_path: Path, stop: Any, before: bool) -> None:
    if before:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "report.json").write_text(OURS)
    known = tree(tmp_path)

    def run() -> None:
        with ResultDirectory(tmp_path / "out", force=True) as folder:
            (folder / "report.json").write_text("half")
            raise stop("stopped")

    with pytest.raises(stop):
        run()
    assert tree(tmp_path) == known


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("content", ["{}", "not json", "[" * 100_000, None])
def test_what_is_not_ours_is_never_replaced(
    tmp_path: Path, force: bool, content: str | None
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("dear")
    if content is not None:
        (tmp_path / "out" / "report.json").write_text(content)
    known = tree(tmp_path)
    with pytest.raises(ConfigError) as caught, ResultDirectory(tmp_path / "out", force=force):
        pytest.fail("the block must not run")
    assert force or "--force" in caught.value.hint
    assert tree(tmp_path) == known


def test_a_file_in_the_way_and_a_target_filled_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="not a directory"), ResultDirectory(tmp_path / "file"):
        pytest.fail("the block must not run")
    with pytest.raises(ExportError), ResultDirectory(tmp_path / "file" / "out"):
        pytest.fail("the block must not run")

    def run() -> None:
        with ResultDirectory(tmp_path / "out"):
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "theirs").write_text("y")

    with pytest.raises(ConfigError):
        run()
    assert tree(tmp_path) == {"file": "x", "out": "", "out/theirs": "y"}


def test_a_failed_rename_puts_the_earlier_result_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "report.json").write_text(OURS)
    rename = os.replace

    def failing(source: Path, destination: Path) -> None:
        if str(source).endswith(".part"):
            raise OSError(28, "No space left on device")
        rename(source, destination)

    def run() -> None:
        with ResultDirectory(target, force=True) as folder:
            (folder / "report.json").write_text("new")
            monkeypatch.setattr(files.os, "replace", failing)

    with pytest.raises(ExportError, match="No space left"):
        run()
    assert tree(tmp_path) == {"out": "", "out/report.json": OURS}


def test_a_link_to_a_directory_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    with ResultDirectory(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "a").read_text() == "1"
