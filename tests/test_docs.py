"""The documentation is true: its pages are reached, its code runs, its schema is the code's."""

import copy
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from conftest import ROOT
from documented import DOCS, Block, blocks, commands, follow
from torch import nn

import convsnn
import convsnn.plugins as plugins
from calibrate import CALIBRATORS
from convsnn.commands import main
from convsnn.commands.app import app
from convsnn.errors import ExportError
from convsnn.load.aten import LOWERINGS
from convsnn.load.onnx import ONNX_OPS
from convsnn.neurons import NEURONS
from convsnn.report.document import validate

PAGES = sorted(DOCS.glob("*.md"))
SHOWN = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "README.md"]
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
RUNNING = [
    page
    for page in SHOWN[:-1]  # the README has tests of its own
    if any(b.language == "console" or (b.language == "python" and not b.file) for b in blocks(page))
]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def headings(page: Path) -> list[tuple[int, str]]:
    return [(len(m[1]), m[2]) for m in re.finditer(r"^(#+) (.+)$", prose(page), re.MULTILINE)]


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_page_stands_in_the_contents_once():
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```", (DOCS / "index.md").read_text(), re.M | re.S)
    entries = [line for tree in trees for line in tree.splitlines() if line and line[0] != ":"]
    assert sorted(entries) == sorted(page.stem for page in PAGES if page.stem != "index")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_one_title_and_leaves_out_no_level(page):
    levels = [level for level, _ in headings(page)]
    if "{include}" in page.read_text():
        assert levels == []
        return
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        place, _, part = target.partition("#")
        there = page.parent / place if place else page
        assert there.exists(), target
        if part:
            assert part in {anchor(text) for _, text in headings(there)}, target


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.stem)
def test_commands_parse(page):
    known = typer.main.get_command(app).commands
    for block in blocks(page):
        if block.language not in ("console", "sh"):
            continue
        for arguments, _ in commands(block):
            while "--plugin" in arguments:
                at = arguments.index("--plugin")
                arguments = arguments[:at] + arguments[at + 2 :]
            name, *rest = arguments
            assert name in known, arguments
            known[name].make_context(name, list(rest))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty directory; whatever a page enrols or imports is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CONVSNN_PLUGINS", "")
    monkeypatch.setenv("COLUMNS", "100")
    registries = (NEURONS, CALIBRATORS, ONNX_OPS)
    kept = [(r, dict(r._entries), dict(r._plugins)) for r in registries]
    lowerings, modules, threads = dict(LOWERINGS), set(sys.modules), torch.get_num_threads()
    torch.set_num_threads(1)  # the networks are small: threads would only wait for each other
    yield tmp_path
    torch.set_num_threads(threads)
    plugins._LOADED.clear()
    for registry, entries, names in kept:
        registry._entries, registry._plugins = entries, names
    LOWERINGS.clear()
    LOWERINGS.update(lowerings)
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNING, ids=lambda page: page.stem)
def test_what_a_page_shows_happens(page, elsewhere, capsys):
    torch.manual_seed(0)
    follow(page, main, lambda: "".join(capsys.readouterr()))


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_schema_is_that_of_the_code():
    made = generator().schema_text()
    assert (DOCS / "report.schema.json").read_text() == made, "run python docs/generate.py"


def cells_of(notebook: dict[str, Any]) -> Iterator[Block]:
    """The code of a notebook as blocks of a page: commands by themselves, and Python."""
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "code":
            shell = text.startswith("!")
            code = re.sub(r"^!", "$ ", text, flags=re.MULTILINE) if shell else text
            yield Block("console" if shell else "python", code + "\n")


def test_the_notebook_is_the_page_whose_blocks_run():
    made = generator().as_notebook.notebook_text()
    assert (DOCS / "quickstart.ipynb").read_text() == made, "run python docs/generate.py"
    notebook, page = json.loads(made), blocks(DOCS / "quickstart.md")
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    cells = list(cells_of(notebook))  # which test_what_a_page_shows_happens runs as the page's
    assert [cell.language for cell in cells] == [block.language for block in page]
    for cell, block in zip(cells, page, strict=True):
        if block.language == "python":
            assert cell.text == block.text
        else:
            typed = [arguments for arguments, _ in commands(cell)]
            assert typed == [arguments for arguments, _ in commands(block)]
    prose = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"]
    kept = FENCE.sub("\n", (DOCS / "quickstart.md").read_text())
    assert "".join("".join(prose[1:]).split()) == "".join(kept.split())


def test_generated_pages_name_every_command_and_option():
    made = generator()
    for name in typer.main.get_command(app).commands:
        assert f"## `convsnn {name}`" in made.commands()
    options = made.options()
    for name in NEURONS.names():
        for option in NEURONS.options(name):
            assert f"| `{option}` |" in options.partition(f"### {name}\n")[2].partition("###")[0]


def test_every_option_of_msat_is_explained():
    page = (DOCS / "msat.md").read_text()
    table = page.partition("| option | default |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(NEURONS.options("msat"))


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    x, y = torch.rand(24, 1, 3, 3), torch.arange(24) % 3
    snn = convsnn.convert(net, (x[:12], y[:12]), timesteps=3, calibrate="max")
    return json.loads(json.dumps(dict(snn.evaluate((x[12:], y[12:])).document)))


def wrong(value: object, form: dict[str, Any]) -> bool:
    """Whether `value` is against the part of JSON Schema that our schema uses."""
    if "anyOf" in form:
        return all(wrong(value, one) for one in form["anyOf"])
    if "const" in form:
        return value != form["const"]
    kinds = {"object": dict, "array": list, "string": str, "number": (int, float), "integer": int}
    names = form["type"] if isinstance(form["type"], list) else [form["type"]]
    if value is None or isinstance(value, bool):
        return value is not None or "null" not in names
    if not any(isinstance(value, kinds[name]) for name in names if name != "null"):
        return True
    if isinstance(value, dict):
        known = form.get("properties", {})
        other = form.get("additionalProperties")
        return any(key not in value for key in form.get("required", ())) or any(
            wrong(item, known.get(key, other))
            for key, item in value.items()
            if known.get(key, other)
        )
    if isinstance(value, list):
        least = form.get("minItems", 0)
        return len(value) < least or any(wrong(item, form["items"]) for item in value)
    if isinstance(value, str):
        return False
    return not form.get("minimum", value) <= value <= form.get("maximum", value)


def test_a_report_keeps_to_the_schema(report):
    form = json.loads((DOCS / "report.schema.json").read_text())
    validate(report)
    assert not wrong(report, form)


def test_a_report_keeps_to_the_schema_as_others_read_it(report):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    form = json.loads((DOCS / "report.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(form)
    jsonschema.Draft202012Validator(form).validate(report)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(form).validate({**report, "seed": -1})


def leaves(form: dict[str, Any], place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of a report that the schema requires."""
    for key in form.get("required", ()):
        inner = form["properties"][key]
        yield (*place, key)
        yield from leaves(inner, (*place, key))
        if inner.get("type") == "array":
            yield from leaves(inner["items"], (*place, key, 0))


def test_the_schema_refuses_what_the_code_refuses(report):
    """Every required place in turn: taken away, and with values of other kinds in it."""
    form = json.loads((DOCS / "report.schema.json").read_text())
    seen = 0
    for *parents, last in leaves(form):
        for value in (None, "text", -1, [], {}, [{}], "absent"):
            changed = copy.deepcopy(report)
            inner = changed
            for step in parents:
                inner = inner[step] if not isinstance(inner, list) or inner else {}
            if not isinstance(inner, dict) or last not in inner:
                continue
            if value == "absent":
                del inner[last]
            else:
                inner[last] = value
            try:
                validate(changed)
                refused = ""
            except (ExportError, AttributeError, TypeError) as error:
                refused = str(error)
            about_numbers = "values for" in refused or "both be null" in refused
            seen += 1
            if not about_numbers:  # JSON Schema cannot say that lists have as many values as steps
                assert bool(refused) == wrong(changed, form), (parents, last, value, refused)
    assert seen > 200


def test_the_site_builds_without_a_warning(tmp_path, capsys):
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install -e '.[docs]'")
    from sphinx.cmd.build import main as build

    made = build(["-q", "-W", "--keep-going", str(DOCS), str(tmp_path / "site")])
    assert made == 0, capsys.readouterr().err
    api = (tmp_path / "site" / "api.html").read_text()
    assert "convsnn.convert" in api
    assert "--max-drop" in (tmp_path / "site" / "commands.html").read_text()
