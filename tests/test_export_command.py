"""`convsnn export`: what goes along with a network, and what a form or a format refuses."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import convsnn
from convsnn.commands import main
from convsnn.errors import ConfigError
from convsnn.workflows.export.network import export

NAMES = ["ant", "bee", "cat"]
SHAPE = (1, 6, 6)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network made from folders of images, which name its classes."""
    torch = pytest.importorskip("torch")
    place, rng = tmp_path_factory.mktemp("export"), np.random.default_rng(0)
    for split in ("train", "test"):
        for name in NAMES:
            (place / split / name).mkdir(parents=True)
            for number in range(2):
                pixels = rng.integers(0, 256, SHAPE[1:]).astype(np.uint8)
                Image.fromarray(pixels).save(place / split / name / f"{number}.png")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(32, 3)
    )
    data = f"folder:{place}"
    made = convsnn.convert(module, data, timesteps=4, calibrate="mse", schedule="layers")
    return made.save(place / "network.safetensors")


def labels(path: Path) -> list[str]:
    held = {p.key: p.value for p in onnx.load(path).metadata_props}
    found: list[str] = json.loads(held["convsnn.labels"])
    return found


def test_classes_are_called_as_predict_calls_them(artifact: Path, tmp_path: Path) -> None:
    net = convsnn.load(artifact)
    assert labels(net.export(tmp_path / "a.onnx")) == NAMES
    assert net.predict(artifact.parent / "test" / "ant").labels[0] in NAMES
    (tmp_path / "names.txt").write_text("x\n y \nz\n\n")
    assert labels(export(artifact, tmp_path / "b.onnx", labels=tmp_path / "names.txt")) == [*"xyz"]
    assert labels(export(artifact, tmp_path / "c.onnx", labels=[*"pqr"])) == [*"pqr"]
    for read in (lambda: export(artifact, tmp_path / "d.onnx", labels=["a"]),
                 lambda: net.predict(artifact.parent / "test", labels=["a"])):  # fmt: skip
        with pytest.raises(ConfigError, match="1 names are given for 3 classes"):
            read()
    assert not (tmp_path / "d.onnx").exists()


def test_classes_without_names_are_called_by_number(artifact: Path, tmp_path: Path) -> None:
    net = convsnn.load(artifact).network
    known = {k: v for k, v in net.provenance.items() if k != "labels"}
    nameless = type(net)(**{**vars_of(net), "provenance": known})
    assert labels(export(nameless, tmp_path / "a.onnx")) == ["0", "1", "2"]
    other = type(net)(**{**vars_of(net), "provenance": {**known, "task": "regress"}})
    held = onnx.load(export(other, tmp_path / "b.onnx")).metadata_props
    assert "convsnn.labels" not in {p.key for p in held}
    with pytest.raises(ConfigError, match="read as 'regress'"):
        export(other, tmp_path / "c.onnx", labels=[*"abc"])


def vars_of(net: object) -> dict[str, object]:
    names = ("graph", "plan", "neuron", "encoder", "readout", "schedule")
    return {name: getattr(net, name) for name in names}


def test_a_network_that_fires_by_layers_has_one_form(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.onnx"
    assert main(["export", str(artifact), "--to", "onnx", "-o", str(path)]) == 0
    model = onnx.load(path)
    assert model.graph.name == "layers"
    about = json.loads({p.key: p.value for p in model.metadata_props}["convsnn.spiking"])
    assert about["schedule"] == "layers"
    assert about["timesteps"] == 4
    capsys.readouterr()
    again = ["export", str(artifact), "--to", "onnx", "-o", str(tmp_path / "b.onnx")]
    assert main([*again, "--form", "step"]) == 2
    said = capsys.readouterr().err
    assert "no form 'step'" in said
    assert "--form layers" in said
    assert "--schedule steps" in said  # another command's option, which is left in the hint
    assert main([*again, "--precision", "float64", "--spikes"]) == 0
    kinds = {t.data_type for t in onnx.load(tmp_path / "b.onnx").graph.initializer}
    assert kinds == {onnx.TensorProto.DOUBLE}
    capsys.readouterr()
    assert main([*again[:3], "nir", "-o", str(tmp_path / "c.nir")]) == 2
    assert "--schedule steps" in capsys.readouterr().err
    assert main([*again[:3], "nir", "-o", str(tmp_path / "c.nir"), "--precision", "float64"]) == 2
    assert not (tmp_path / "c.nir").exists()
