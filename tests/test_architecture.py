"""The house's rules, read from the sources: direction of imports, names, sizes, nothing unsafe."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGES = ("convsnn", "calibrate", "zoo")

# Lowest first; a module may import from its own layer and from those above it in this list.
LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "convsnn.errors",
        "convsnn.registry",
        "convsnn.random",
        "convsnn.plugins",
        "convsnn.ranges",
    ),
    ("convsnn.graph",),
    ("convsnn.neurons", "convsnn.encoders", "convsnn.readouts"),
    ("convsnn.passes", "convsnn.load"),
    ("convsnn.spiking",),
    ("convsnn.simulate",),
    ("convsnn.train", "convsnn.measure"),
    ("convsnn.report", "convsnn.export"),
    ("calibrate",),
    ("zoo",),
    ("convsnn.workflows",),
    ("convsnn",),  # the package's front, which names what a user imports
    ("convsnn.commands", "convsnn.__main__", "cli"),
)

# Folders of implementations that enrol themselves. One never imports another; what none of them
# is (a module that enrols nothing) they may share, and these few that were judged worth it.
PLUGINS: dict[str, frozenset[str]] = {
    "convsnn.graph.ops": frozenset({"weighted"}),  # how padding is split
    "convsnn.neurons": frozenset(),
    "convsnn.encoders": frozenset(),
    "convsnn.load.aten": frozenset({"weighted"}),  # one number for every axis
    "convsnn.load.onnx": frozenset(),
    "convsnn.measure.tasks": frozenset(),
    "calibrate": frozenset(),
    "zoo.models": frozenset(),
    "zoo.data": frozenset({"embedded"}),  # digits that another shows to a camera
}
NOT_ENROLLING = {"dataclass", "lru_cache"}  # decorators with arguments that enrol nothing

FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
FORBIDDEN_IMPORTS = {"dill", "cloudpickle", "marshal", "shelve", "joblib"}
PICKLE_ERRORS = {"UnpicklingError", "PickleError"}  # all of pickle that may be named
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
LONGEST = 300


def sources() -> list[Path]:
    """Every source file of the three packages and cli.py."""
    found = [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]
    cli = ROOT / "cli.py"
    return [*found, *([cli] if cli.exists() else [])]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sources()}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}


def layer(module: str) -> int:
    """Place in the order of imports, by the longest name that fits."""
    fits = [
        (len(name), place)
        for place, names in enumerate(LAYERS)
        for name in names
        if module == name or (module.startswith(f"{name}.") and name != "convsnn")
    ]
    assert fits, f"{module} has no place in LAYERS"
    return max(fits)[1]


def imported(tree: ast.AST, module: str) -> Iterator[str]:
    """Modules of this project that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = (
                    module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
                )
                base = importlib.util.resolve_name("." * node.level + base, package)
            inner = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in FILES else base for name in inner]
        for name in names:
            if name.split(".")[0] in (*PACKAGES, "cli"):
                yield name


def origins(module: str) -> set[str]:
    """The files a module imports from, seen through the fronts of packages."""
    found: set[str] = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom) and node.module in FILES:
            for alias in node.names:
                found.add(home(node.module, alias.name))
    return found - {module}


def home(package: str, name: str) -> str:
    """The file that `from package import name` ends in."""
    if f"{package}.{name}" in FILES:
        return f"{package}.{name}"
    if FILES[package].name == "__init__.py":
        for node in TREES[package].body:
            inside = isinstance(node, ast.ImportFrom) and node.module in FILES
            if inside and any((alias.asname or alias.name) == name for alias in node.names):
                return home(node.module, name)
    return package


def test_no_file_imports_itself_by_way_of_others() -> None:
    """No circle between any two files, whatever their place in the order."""
    reads = {module: origins(module) for module in FILES}
    for one, names in reads.items():
        behind: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in behind:
                behind.add(name)
                waiting += reads[name]
        assert one not in behind, one


def test_there_are_sources_to_judge() -> None:
    assert {"convsnn.errors", "convsnn.graph", "convsnn.simulate", "calibrate"} <= set(FILES)


@pytest.mark.parametrize("module", FILES)
def test_imports_go_down_the_page(module: str) -> None:
    wrong = [
        f"{module} imports {name}"
        for name in imported(TREES[module], module)
        if layer(name) > layer(module)
    ]
    assert not wrong


@pytest.mark.parametrize("module", [m for m in FILES if m.startswith("convsnn")])
def test_below_the_workflows_nothing_knows_calibrate_or_zoo(module: str) -> None:
    if module.startswith(("convsnn.workflows", "convsnn.commands", "convsnn.__main__")):
        return
    assert not [n for n in imported(TREES[module], module) if n.split(".")[0] != "convsnn"]


def enrols(module: str) -> bool:
    """Whether a module enters something of its own into a registry or table."""
    decorators = [
        decorator.func
        for node in TREES[module].body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call)
    ]
    return any(ast.unparse(name) not in NOT_ENROLLING for name in decorators)


def borrowed(folder: str) -> set[tuple[str, str]]:
    """Pairs (module, implementation beside it that it imports) in a folder."""
    inside = [module for module in FILES if module.rpartition(".")[0] == folder]
    return {
        (module, name.rpartition(".")[2])
        for module in inside
        for name in imported(TREES[module], module)
        if name in inside and name != module and enrols(name)
    }


@pytest.mark.parametrize("folder", PLUGINS)
def test_one_implementation_does_not_import_another(folder: str) -> None:
    assert any(enrols(m) for m in FILES if m.rpartition(".")[0] == folder)
    assert {sibling for _, sibling in borrowed(folder)} == PLUGINS[folder]


@pytest.mark.parametrize("module", FILES)
def test_no_drawer_for_odds_and_ends(module: str) -> None:
    assert not FORBIDDEN_NAMES & set(module.split("."))


@pytest.mark.parametrize("module", FILES)
def test_files_stay_short_enough_to_read(module: str) -> None:
    assert len(FILES[module].read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("module", FILES)
def test_every_module_says_its_job(module: str) -> None:
    assert ast.get_docstring(TREES[module])


def called(node: ast.Call) -> str:
    """The dotted name of what is called."""
    return ast.unparse(node.func)


@pytest.mark.parametrize("module", FILES)
def test_nothing_is_unpickled_or_evaluated(module: str) -> None:
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            assert not {a.name.split(".")[0] for a in node.names} & FORBIDDEN_IMPORTS
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in {*FORBIDDEN_IMPORTS, "pickle"}
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle":
            assert node.attr in PICKLE_ERRORS, f"line {node.lineno}"
        elif isinstance(node, ast.Call):
            name, options = called(node), {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert name not in FORBIDDEN_CALLS, f"line {node.lineno}"
            if name == "torch.load":
                assert options.get("weights_only") == "True", f"line {node.lineno}"
            if name in ("np.load", "numpy.load"):
                assert options.get("allow_pickle", "False") == "False", f"line {node.lineno}"


@pytest.mark.parametrize("module", FILES)
def test_no_error_is_swallowed_and_nothing_is_printed(module: str) -> None:
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except"
            empty = all(isinstance(part, (ast.Pass, ast.Continue)) for part in node.body)
            broad = ast.unparse(node.type) in ("Exception", "BaseException")
            assert not (empty and broad), f"line {node.lineno}: an error is swallowed"
        elif isinstance(node, ast.Call):
            assert called(node) != "print" or module.startswith("convsnn.commands")


@pytest.mark.parametrize(
    "module", [m for m in FILES if m.startswith("convsnn.") and "commands" not in m]
)
def test_only_commands_know_of_a_command_line(module: str) -> None:
    names = [
        name
        for node in ast.walk(TREES[module])
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    assert not {name.partition(".")[0] for name in names} & {"typer", "click", "argparse"}


# What this file looks for, in miniature: each rule can fail.
@pytest.mark.parametrize(
    ("module", "source", "above"),
    [
        ("convsnn.graph", "from convsnn.simulate import simulate", True),
        ("convsnn.spiking.plan", "import calibrate", True),
        ("calibrate.mse", "from convsnn.simulate import simulate", False),
        ("calibrate.mse", "from convsnn import convert", True),
        ("convsnn.commands", "import zoo", False),
        ("convsnn.errors", "def f():\n    import convsnn.spiking.plan", True),
    ],
)
def test_the_rule_of_direction_can_fail(module: str, source: str, above: bool) -> None:
    found = [layer(name) > layer(module) for name in imported(ast.parse(source), module)]
    assert found == [above]
