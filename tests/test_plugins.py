"""A neuron and a stage of another package: found, used, named in the artifact, asked for."""

import json
import sys

import pytest
from conftest import ROOT
from documented import blocks
from test_commands import SMALL, run

import convsnn.plugins as plugins
from calibrate import CALIBRATORS
from convsnn.errors import ConfigError, LoadError
from convsnn.export import load_artifact
from convsnn.neurons import NEURONS

FILES = {b.file: b.text for b in blocks(ROOT / "CONTRIBUTING.md") if b.file}
BOTH = "--plugin", "outside.neurons", "--plugin", "outside.stages"


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A directory with the package `outside`; whatever it enrols is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "__init__.py").write_text("")
    for name in ("outside/neurons.py", "outside/stages.py"):
        (tmp_path / name).write_text(FILES[name])
    (tmp_path / "broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CONVSNN_PLUGINS", "")
    kept = [(r, dict(r._entries), dict(r._plugins)) for r in (NEURONS, CALIBRATORS)]
    yield tmp_path
    _forget(kept)


def _forget(kept):
    plugins._LOADED.clear()
    for registry, entries, names in kept:
        registry._entries, registry._plugins = dict(entries), dict(names)
    for name in [name for name in sys.modules if name.startswith("outside")]:
        del sys.modules[name]


CONVERT = ["convert", "zoo:mnist5k-cnn", "--timesteps", 2, *SMALL, "--neuron", "floored",
           "--calibrate", "max+lower", "-o", "out"]  # fmt: skip


def test_a_plugin_is_used_named_and_asked_for(outside, capsys):
    kept = [(r, dict(r._entries), dict(r._plugins)) for r in (NEURONS, CALIBRATORS)]
    code, _, err = run(capsys, *CONVERT)
    assert code == 2
    assert "unknown calibration stage 'lower'" in err
    code, _, err = run(capsys, *BOTH, *CONVERT)
    assert code == 0, err
    report = json.loads((outside / "out" / "report.json").read_text())
    assert report["method"]["plugins"] == ["outside.neurons", "outside.stages"]
    code, out, err = run(capsys, "evaluate", "out", "--plugin=outside.neurons", "--json")
    assert code == 0, err
    assert json.loads(out)["snn"]["accuracy"] == report["snn"]["accuracy"]
    _forget(kept)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVSNN_PLUGINS", "")
        code, _, err = run(capsys, "evaluate", "out")
        assert code == 2
        assert "needs the plug-in outside.neurons" in err
        assert "--plugin outside.neurons" in " ".join(err.split())
        patch.setenv("CONVSNN_PLUGINS", "outside.neurons")
        code, out, err = run(capsys, "list", "neurons", "--json")
        assert "floored" in {row["name"] for row in json.loads(out)["neurons"]}


def test_an_installed_package_names_its_plugin(outside, monkeypatch):
    class Entry:
        name, value = "outside", "outside.neurons:Floored"

    class Broken:
        name, value = "worn", "broken"

    monkeypatch.setattr(plugins, "entry_points", lambda group: [Broken, Entry])
    (wrong,) = plugins.load_installed()
    assert "'worn' cannot be loaded: ZeroDivisionError" in str(wrong)
    assert plugins.loaded() == ("outside.neurons",)
    assert NEURONS.plugin("floored") == "outside.neurons"
    assert NEURONS.plugin("if") is None


@pytest.mark.parametrize("name", ["nowhere.at.all", "broken", "outside.nothing"])
def test_a_plugin_that_cannot_be_loaded_is_named(outside, capsys, name):
    code, out, err = run(capsys, "--plugin", name, "list", "neurons")
    assert (code, out) == (2, "")
    assert f"the plug-in '{name}' cannot be loaded" in err
    with pytest.raises(ConfigError):
        plugins.load_plugins([name])


def test_the_list_of_plugins_in_a_file_is_checked():
    with pytest.raises(LoadError, match="damaged"):
        plugins.require_loaded({"a": 1})
    plugins.require_loaded([])


def test_version(capsys):
    code, out, _ = run(capsys, "--version")
    assert (code, out.startswith("convsnn ")) == (0, True)
    assert run(capsys, "--version", "list", "neurons")[1] == out


def test_artifacts_without_plugins_open_as_before(outside, capsys):
    plain = ["convert", "zoo:mnist5k-cnn", "--timesteps", 1, *SMALL, "--calibrate", "max"]
    assert run(capsys, *plain, "-o", "out")[0] == 0
    assert load_artifact(outside / "out" / "network.safetensors").plugins == ()
