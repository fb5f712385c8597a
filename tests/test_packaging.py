"""What a stranger's machine meets first: pins, package data, make's messages, the three entries."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
PINNED = re.compile(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)")


def pins() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    matches = [PINNED.fullmatch(line) for line in lines if not line.startswith("#")]
    assert all(matches), "a line is not NAME==VERSION"
    return {canonicalize_name(match[1]): match[2] for match in matches if match}


def declared() -> list[Requirement]:
    """What pyproject.toml asks for, all extras included, without the project itself."""
    lists = [PROJECT["project"]["dependencies"]]
    lists += PROJECT["project"]["optional-dependencies"].values()
    found = [Requirement(text) for texts in lists for text in texts]
    return [each for each in found if each.name != PROJECT["project"]["name"]]


def needed(requirements: list[Requirement]) -> set[str]:
    """The names of all packages that an install of `requirements` brings to this machine."""
    seen: set[tuple[str, str]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                requires = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                pytest.skip(f"{name} is not installed; this needs all extras")
            for text in requires:
                below = Requirement(text)
                if below.marker is None or below.marker.evaluate({"extra": extra}):
                    waiting.append(below)
    return {name for name, _ in seen}


def test_the_dev_extra_holds_every_other_extra() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    reached, waiting = set(), ["dev"]
    while waiting:
        extra = waiting.pop()
        reached.add(extra)
        for requirement in map(Requirement, extras[extra]):
            if requirement.name == PROJECT["project"]["name"]:
                waiting += requirement.extras - reached
    assert reached == set(extras)


def test_every_package_that_an_install_brings_is_pinned() -> None:
    assert needed(declared()) - pins().keys() == set()


def test_the_pins_lie_in_the_declared_ranges() -> None:
    known = pins()
    outside = [str(r) for r in declared() if known[canonicalize_name(r.name)] not in r.specifier]
    assert outside == []


def test_every_file_that_is_not_python_goes_into_the_wheel() -> None:
    left_out = set()
    for package, patterns in PROJECT["tool"]["setuptools"]["package-data"].items():
        root = REPOSITORY / package
        files = {path for path in root.rglob("[!.]*") if path.is_file()}
        data = {path for path in files if path.suffix not in {".py", ".pyc"}}
        left_out |= data - {path for pattern in patterns for path in root.glob(pattern)}
    assert left_out == set()


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine")
def test_make_says_what_to_do_without_a_fitting_python(tmp_path: Path) -> None:
    folder = tmp_path / "a space"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, folder)
    too_old = folder / "python old"
    too_old.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    too_old.chmod(0o755)
    done = subprocess.run(
        ["make", f"PYTHON={too_old}", "demo"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert f"No Python 3.11 or newer under the name: {too_old}" in done.stderr
    assert "make PYTHON=" in done.stderr
    assert not (folder / ".venv").exists()


def test_script_module_and_file_are_the_same_program() -> None:
    script = Path(sys.executable).with_name("convsnn")
    if not script.exists():
        pytest.skip(f"{script} is not installed")
    entries = [[str(script)], [sys.executable, "-m", "convsnn"], [sys.executable, "cli.py"]]
    running = [
        subprocess.Popen(
            [*entry, "no-such-command"],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for entry in entries
    ]
    outputs = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [2, 2, 2]
    assert outputs[0] == outputs[1] == outputs[2]
    assert "no-such-command" in outputs[0][1]
