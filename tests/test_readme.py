"""What the README shows is what happens: its Python runs, its commands print what it says."""

import re
import shlex
from pathlib import Path

import pytest

from convsnn.commands import main
from zoo.models.base import WEIGHTS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
LEFT_OUT = "[...]"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_run(code, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    ann, snn = (float(n) for n in re.findall(r"([\d.]+)%", printed))
    assert ann > 97
    assert snn > ann - 1


def shown() -> list[tuple[str, str]]:
    """Every command of the README with the output it shows, `make` apart."""
    found = []
    for block in blocks("console"):
        command, _, output = block.partition("\n")
        command = command.removeprefix("$ ")
        if command.startswith("convsnn ") and output.strip():
            found.append((command, output))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("command", "output"), shown())
def test_commands_print_what_is_shown(command, output, capsys, monkeypatch, tmp_path):
    """Word for word, up to where the README leaves the rest out; numbers may differ in rounding
    from machine to machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "model.onnx").write_bytes((WEIGHTS / "mnist5k-cnn.onnx").read_bytes())
    assert main(shlex.split(command)[1:]) == 0
    output, left_out, _ = output.partition(LEFT_OUT)
    words, printed = NUMBER.sub("#", output).split(), capsys.readouterr().out
    found = NUMBER.sub("#", printed).split()
    assert found[: len(words) if left_out else None] == words
    for got, wanted in zip(NUMBER.findall(printed), NUMBER.findall(output), strict=not left_out):
        assert float(got) == pytest.approx(float(wanted), rel=0.05, abs=0.5)


def test_the_readme_shows_a_command_with_its_output():
    assert shown()
    assert blocks("python")


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
