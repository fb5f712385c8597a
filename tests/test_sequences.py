"""Conversion on sequences: the original sees the mean frame, the spiking network each of them."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import convsnn
from calibrate import parse_stages
from calibrate.methods import choose_methods
from convsnn.commands import main
from convsnn.encoders import ENCODERS
from convsnn.errors import ConfigError, ConvsnnError, UnsupportedError
from convsnn.export import save_artifact
from convsnn.graph import Graph
from convsnn.load import load_onnx
from convsnn.simulate import simulate
from convsnn.spiking.sharing import Alone
from convsnn.spiking.stills import Stills
from convsnn.train.direct import Form, prepare
from convsnn.workflows.compare.sequences import on_sequences
from convsnn.workflows.convert.network import convert
from convsnn.workflows.evaluate.doubts import MEAN_FRAME, STILL
from convsnn.workflows.subject.opening import Opening
from zoo.data import Binning, Preprocessing, open_data
from zoo.models.base import WEIGHTS

MODEL, SHAPE, FRAMES = str(WEIGHTS / "mnist5k-cnn.onnx"), (1, 28, 28), 4


@cache
def network() -> Graph:
    """The network of `MODEL`, read once."""
    return load_onnx(MODEL)


def moving(count: int = 12) -> Tensor:
    """Sequences of frames of 0 and 1, (count, FRAMES, *SHAPE)."""
    return (torch.rand(count, FRAMES, *SHAPE, generator=torch.manual_seed(1)) < 0.3).float()


def quickly(**more: Any) -> dict[str, Any]:
    return {"device": "cpu", "batch_size": 6, **more}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with `a.npz`, which holds sequences, and no page drawn."""
    monkeypatch.setattr("convsnn.workflows.evaluate.score.render_html", lambda _: "")
    monkeypatch.setattr("convsnn.report.comparison.page.render_comparison_page", lambda _: "")
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "a.npz", x=moving().numpy(), y=np.arange(12) % 2)
    return tmp_path


SPEC = "frames:a.npz,a.npz"


# --- oracles -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stages",
    [
        "mse+weights:steps=4,potential=4",
        "percentile:q=99.9+bias+potential",
        "max+confidence:steps=4",
        "rmp",
    ],
)
def test_equal_frames_are_an_image_shown_at_every_step(stages: str) -> None:
    x = moving()[:, 0].double()  # so that no tie is decided by rounding
    still = x[:, None].expand(-1, FRAMES, *SHAPE)
    neuron = "msat:reference=2" if "confidence" in stages else "if"
    graph, example = network().to(torch.float64), x[:2]
    nets = [
        convert(
            graph, example, batches, parse_stages(stages), steps=FRAMES, neuron=neuron,
            encoder=encoder, readout="auto",
        )
        for encoder, batches in (("direct", x.split(5)), ("frames", still.split(5)))
    ]  # fmt: skip
    direct, framed = nets
    assert framed.encoder.spec() == f"frames:steps={FRAMES}"
    assert framed.readout == direct.readout
    for name, site in direct.plan.sites.items():
        for key, value in site.tensors().items():
            assert torch.allclose(framed.plan.sites[name].tensors()[key], value, atol=1e-9), key
    wanted = simulate(direct, x, steps=FRAMES).outputs[0]
    assert torch.allclose(simulate(framed, still, steps=FRAMES).outputs[0], wanted, atol=1e-9)


def test_what_looks_at_activations_alone_sees_the_mean_frames() -> None:
    x = moving()
    asked = quickly(calibrate="mse:per=channel", readout="mean")
    stills = convsnn.convert(network(), x.mean(1), FRAMES, **asked)
    framed = convsnn.convert(network(), x, FRAMES, encoder="frames", **asked)
    known = convsnn.convert(MODEL, x, FRAMES, **asked)
    assert stills.network.encoder.spec() == "direct"
    for one in (framed, known):
        assert one.network.encoder.spec() == f"frames:steps={FRAMES}"
        for name, threshold in stills.thresholds.items():
            assert torch.equal(one.thresholds[name], threshold)
    labels = torch.arange(12) % 2
    scores = framed.evaluate((x, labels), examples=0).document
    again = stills.evaluate((x.mean(1), labels), examples=0).document
    assert scores["ann"]["accuracy"] == again["ann"]["accuracy"]
    assert MEAN_FRAME in scores["warnings"]
    assert MEAN_FRAME not in again["warnings"]
    assert framed.predict(x, device="cpu").answers == framed(x).argmax(1).tolist()


def test_weights_are_fitted_to_frames_as_the_network_is_shown_them() -> None:
    """The order of frames changes what neurons send, though not their mean."""
    x = moving()
    late = x.clone()
    late[:, :2] = 0  # nothing to see at first
    asked = quickly(calibrate="mse+potential:steps=4", readout="mean", encoder="frames")
    first, last = (
        convsnn.convert(network(), given, FRAMES, **asked) for given in (late, late.flip(1))
    )
    assert all(torch.equal(first.thresholds[n], t) for n, t in last.thresholds.items())
    starts = [net.network.plan.sites for net in (first, last)]
    assert any(not torch.equal(starts[0][n].potential, starts[1][n].potential) for n in starts[0])


def test_processes_share_the_mean_frames_between_them() -> None:
    batches = Stills(list(moving().split(5)), ENCODERS.create(f"frames:steps={FRAMES}"))
    found = [each for n in range(2) for each in batches.dealt(Alone(n, 2))]
    assert [first for first, _ in found] == [0, 10, 5]
    for first, x in found:
        assert torch.equal(x, moving().mean(1)[first : first + 5])


def test_the_first_frames_are_those_of_the_same_stream(here: Path) -> None:
    job = Opening(MODEL, data=SPEC, **quickly()).open(frames=FRAMES)
    part = job.first(3).data.test
    (x, y), (whole, _) = (next(p.batches(12)) for p in (part, job.data.test))
    assert part.steps == 3
    assert torch.equal(x, whole[:, :3])
    assert y is not None
    assert len({part.digest, job.data.test.digest, job.still().data.test.digest}) == 3
    assert torch.equal(next(job.still().data.test.batches(12))[0], whole.mean(1))
    assert job.example.shape[1:] == SHAPE


# --- the command -------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code = main([*(str(a) for a in arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


COMMAND = ["--device", "cpu", "--batch-size", "6"]


def test_a_converted_network_is_opened_again_on_the_same_sequences(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["convert", MODEL, "--data", SPEC, "--timesteps", FRAMES, *COMMAND]
    code, report = run(capsys, *asked, "-o", "out", "--examples", 0)
    assert code == 0
    assert report["method"]["encoder"] == f"frames:steps={FRAMES}"
    assert report["estimate"]["quantised"]["bits"]
    code, again = run(capsys, "evaluate", "out", "--device", "cpu", "--examples", 0)
    assert code == 0
    assert {**again["snn"], "seconds": 0} == {**report["snn"], "seconds": 0}
    assert again["estimate"]["quantised"] == report["estimate"]["quantised"]
    code, found = run(capsys, "diagnose", "out", "--device", "cpu")
    assert code == 0
    assert found["worst"] is not None
    assert "random spikes" not in json.dumps(found["findings"])
    assert main(["export", "out", "--to", "onnx", "--form", "loop", "-o", "out.onnx"]) == 0
    capsys.readouterr()
    code, refused = run(capsys, "finetune", "out", "--timesteps", 2, "--device", "cpu")
    assert code == 2
    assert "knows no frames" in refused["error"]["message"]


@pytest.mark.parametrize("asked", [["--encoder", "direct"], ["--schedule", "layers"]])
def test_the_mean_frame_is_shown_at_every_step_where_images_are_asked_for(
    here: Path, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    exact = ["--calibrate", "mse", "--mean", 0, "--std", 1, "--examples", 0]
    given = ["convert", MODEL, "--timesteps", FRAMES, *COMMAND, *asked, *exact]
    code, report = run(capsys, *given, "--data", SPEC, "-o", "out")
    assert code == 0
    assert STILL.format(FRAMES) in report["warnings"]
    np.savez("mean.npz", x=moving().mean(1).numpy(), y=np.arange(12) % 2)
    code, wanted = run(capsys, *given, "--data", "npz:mean.npz,mean.npz", "-o", "wanted")
    assert code == 0
    assert report["layers"] == wanted["layers"]
    assert report["ann"]["accuracy"] == wanted["ann"]["accuracy"]
    code, again = run(capsys, "evaluate", "out", "--device", "cpu", "--examples", 0)
    assert code == 0
    assert again["snn"]["accuracy"] == report["snn"]["accuracy"]


def trained(out: Path) -> Path:
    """A network as if it had been trained on sequences, which says so."""
    made = prepare(network(), Form(threshold="lt-snn:initial=0.2"))
    made.network.eval()
    net = made.to_spiking(encoder=f"frames:steps={FRAMES}")
    known = convsnn.convert(MODEL, SPEC, FRAMES, calibrate="mse", **quickly()).network
    training = {"method": "lt-snn", "recipe": "tiny", "timesteps": FRAMES, "seconds": 1.0}
    about = {**known.provenance["method"], "training": training}
    model = {**known.provenance["model"], "sha256": "other"}
    origin = {**known.provenance, "method": about, "model": model}
    record = ({"stage": "train"},)
    net = replace(net, plan=replace(net.plan, record=record), provenance=origin)
    save_artifact(net, out)
    return out


def test_compare_sets_conversions_beside_a_network_trained_on_sequences(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = trained(here / "trained.safetensors")
    asked = ["compare", MODEL, "--data", SPEC, "--timesteps", FRAMES, *COMMAND, "-o", "out"]
    asked += ["--methods", "mse,layers-mse,opt", "--add", place]
    code, found = run(capsys, *asked)
    assert code == 0, found
    rows = {row["name"]: row for row in found["methods"]}
    added = next(row for name, row in rows.items() if name.startswith("added-"))
    frames = f"frames:steps={FRAMES}"
    assert [rows[n]["encoder"] for n in ("mse", "opt", "layers-mse")] == [frames, frames, "direct"]
    assert added["encoder"] == frames
    assert added["trained_steps"] == FRAMES
    report = json.loads((here / "out" / "mse.json").read_text())
    _, alone = run(capsys, "evaluate", place, "--device", "cpu")
    assert added["scores"] == alone["snn"]["accuracy"]
    code, own = run(
        capsys, "convert", MODEL, "--data", SPEC, "--timesteps", FRAMES, *COMMAND,
        "--calibrate", "mse", "--readout", "mean", "-o", "own",
    )  # fmt: skip
    assert own["snn"]["accuracy"] == report["snn"]["accuracy"] == rows["mse"]["scores"]
    # what is made for a number of steps is made anew for fewer, from the first frames alone
    np.savez("first.npz", x=moving()[:, :2].numpy(), y=np.arange(12) % 2)
    few = ["convert", MODEL, "--data", "frames:first.npz,first.npz", "--timesteps", 2, *COMMAND]
    _, short = run(capsys, *few, "--calibrate", "opt:steps=2", "--readout", "mean", "-o", "short")
    column = json.loads((here / "out" / "opt.json").read_text())["comparison"]["columns"]["2"]
    assert column["score"] == short["snn"]["accuracy"][-1]
    settings = json.loads((here / "out" / "settings.json").read_text())
    assert settings["frames"] == FRAMES
    assert run(capsys, *asked)[1]["methods"] == found["methods"]  # all taken from the directory


def test_methods_are_no_longer_calibrated_than_a_sequence_lasts() -> None:
    found = on_sequences(choose_methods("all"), 60, named=False)
    known = {method.name: method.calibrate for method in found}
    assert known["rmp"] == "rmp:steps=60,samples=128"
    assert known["opt"] == "opt:steps={steps}"
    assert "tsc" not in known


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["compare", "--methods", "tsc"], "tsc encodes images"),
        (["compare", "--methods", "none", "--finetune", "lt-snn"], "shown no frames over time"),
        (["convert", "--timesteps", "9"], "sequences of 4 frames, but the network runs 9"),
        (["convert", "--frames-by", "time"], "holds no events"),
        (["convert", "--schedule", "layers", "--encoder", "frames"], "shows the image itself"),
        (["convert", "--data", "npz:b.npz,b.npz", "--encoder", "frames"], "holds images"),
    ],
)
def test_what_does_not_go_with_sequences_is_refused_by_name(
    here: Path, asked: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("b.npz", x=moving()[:, 0].numpy(), y=np.arange(12) % 2)
    command, *options = asked
    code, found = run(
        capsys, command, MODEL, "--data", SPEC, "--timesteps", FRAMES, *COMMAND, *options
    )
    assert code == 2
    assert message in found["error"]["message"]
    assert found["error"]["hint"]


def test_images_and_other_sequences_are_no_input_of_a_network_for_sequences() -> None:
    snn = convsnn.convert(network(), moving(), FRAMES, encoder="frames", **quickly())
    for given, message in ((moving()[:, 0], "holds images"), (moving()[:, :3], "4 frames, not 3")):
        with pytest.raises(ConfigError, match=message):
            snn.evaluate(given)
    with pytest.raises(ConvsnnError, match="a file holds an image"):
        snn.predict("digit.png")
    with pytest.raises(UnsupportedError, match="no module of images"):
        snn.as_module()


def test_a_network_of_images_says_of_how_many_frames_it_is_shown_the_mean(here: Path) -> None:
    known = Preprocessing(frames=FRAMES)
    data = open_data(SPEC, input_shape=SHAPE, preprocessing=known)
    assert torch.equal(next(data.test.batches(12))[0], moving().mean(1))
    assert Preprocessing.from_json(known.to_json()) == known
    for frames in (None, 5):
        with pytest.raises(ConfigError, match="sequences of 4 frames"):
            open_data(SPEC, input_shape=SHAPE, preprocessing=Preprocessing(frames=frames))
    with pytest.raises(ConfigError, match="frames=0 is not usable"):
        Preprocessing(frames=0)
    binned = Preprocessing().override(binning={"by": 5, "value": "count"})
    assert binned.binning == Binning(5, "count")


@pytest.mark.usefixtures("here")
def test_there_are_as_many_frames_as_steps_or_it_is_refused() -> None:
    x, labels = moving(), torch.arange(12) % 2
    for steps in (2, 6):
        with pytest.raises(ConfigError, match=rf"sequences of 4 frames.* {steps} time steps"):
            convsnn.convert(MODEL, (x, labels), timesteps=steps, calibrate="mse", **quickly())
    with pytest.raises(ConfigError, match="show nothing at step 6") as caught:
        convsnn.compare(
            MODEL, (x, labels), test=(x, labels), timesteps=6, methods="mse", **quickly()
        )
    assert "4 at most" in caught.value.hint
    two = convsnn.compare(
        MODEL, (x, labels), test=(x, labels), timesteps=2, methods="mse", **quickly()
    )
    cut = convsnn.compare(
        MODEL, (x[:, :2], labels), test=(x[:, :2], labels), timesteps=2, methods="mse",
        folder="cut", **quickly(),
    )  # fmt: skip
    scores = [made.document["methods"][0]["score"] for made in (two, cut)]
    assert scores[0] == scores[1]
    assert two.document["ann"]["accuracy"] == cut.document["ann"]["accuracy"]
