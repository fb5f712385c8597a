"""The object of Python users: every form of images, what it shows and writes, that it stays."""

import json
import warnings

import numpy as np
import pytest
import torch
from test_commands import run
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import convsnn
from calibrate import parse_stages
from convsnn.errors import ConfigError, ConvsnnError, ConvsnnWarning, LoadError
from convsnn.simulate import simulate


class Small(nn.Module):
    """Two layers of neurons with names of their own."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.act = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.body = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU())
        self.head = nn.Linear(24, 3)

    def forward(self, x):
        return self.head(self.body(self.pool(self.act(self.stem(x)))).flatten(1))


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(40, 1, 8, 8, generator=generator)


@pytest.fixture(scope="module")
def module(images):
    """Its answers are spread over the classes."""
    torch.manual_seed(0)
    made = Small().eval()
    with torch.no_grad():
        made.head.bias -= made(images).mean(0)
    return made


@pytest.fixture(scope="module")
def labels(module, images):
    with torch.no_grad():
        return module(images).argmax(1)


@pytest.fixture(scope="module")
def snn(module, images):
    return convsnn.convert(module, images[:20], timesteps=6, calibrate="mse")


def test_it_answers_and_shows_what_it_is(snn, images):
    assert snn(images[:5]).shape == (5, 3)
    assert repr(snn) == "SNN(Small: 2 layers of 'if', 280 neurons, 6 steps)"
    assert snn.layers == ("act", "body.1")
    assert "SNN(Small" in snn._repr_html_()
    assert torch.equal(snn(images[:5], timesteps=2), snn.run(images[:5]).outputs[0][1])


@pytest.mark.parametrize("schedule", ["steps", "layers"])
def test_it_is_the_same_where_gradients_are_switched_off(module, images, schedule):
    found = []
    for place in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with place():
            made = convsnn.convert(module, images[:20], timesteps=6, schedule=schedule)
            ran = made.run(images[:5], record=["act"])
        found.append((ran.outputs[0].clone(), ran.values["act"].clone()))
    assert all(
        torch.equal(a, b) for other in found[1:] for a, b in zip(other, found[0], strict=True)
    )


@pytest.mark.parametrize(
    "form",
    ["array", "pair", "loader", "loader with labels", "data set", "batches", "double"],
)
def test_images_come_in_every_usual_form(module, images, labels, snn, form):
    some = images[:20]
    given = {
        "array": some.numpy(),
        "pair": (some, labels[:20]),
        "loader": DataLoader(some, batch_size=7),
        "loader with labels": DataLoader(TensorDataset(some, labels[:20]), batch_size=7),
        "data set": TensorDataset(some, labels[:20]),
        "batches": list(some.split(9)),
        "double": some.double(),
    }[form]
    other = convsnn.convert(module, given, timesteps=6, calibrate="mse")
    assert torch.equal(other(images), snn(images))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda x: (b for b in x.split(9)), "read only once"),
        (lambda x: (x * 255).to(torch.uint8), "raw"),
        (lambda x: np.zeros((4, 1, 8, 8), np.uint8), "raw"),
        (lambda x: x[:0], "no batch"),
        (lambda x: [], "holds no images"),
        (lambda x: 5, "cannot be read"),
        (lambda x: [{"image": x}], "not images"),
        (lambda x: torch.full_like(x, torch.nan), "NaN"),
        (lambda x: x[:, :, :4], r"\(1, 4, 8\)"),
        (lambda x: (x, ["cat"] * len(x)), "no numbers"),
        (lambda x: [(x, torch.zeros(len(x))), (x, None)], "1 of 2 batches have labels"),
    ],
)
def test_images_that_are_none_are_refused(module, images, given, says):
    with pytest.raises(ConvsnnError, match=says):
        convsnn.convert(module, given(images), timesteps=2)


def test_images_of_another_shape_than_the_file_takes_are_refused(images):
    with pytest.raises(ConfigError, match=r"\(1, 8, 8\) .* \(1, 28, 28\)"):
        convsnn.convert("zoo:mnist5k-cnn", images, timesteps=2)


def test_stages_are_text_or_objects(module, images, snn):
    other = convsnn.convert(module, images[:20], timesteps=6, calibrate=parse_stages("mse"))
    assert torch.equal(other(images), snn(images))
    named = convsnn.convert(module, images[:20], timesteps=6, method="mse")
    assert torch.equal(named.run(images[:4]).outputs[0], snn.run(images[:4]).outputs[0])
    with pytest.raises(ConfigError, match="says itself what neuron is"):
        convsnn.convert(module, images, method="mse", neuron="burst")
    with pytest.raises(ConfigError, match="says itself what readout is"):
        convsnn.convert(module, images, method="mse", readout="rising")


def test_a_recording_adds_up(snn, images):
    """Sent values and potentials obey the neuron's equation; the outputs are the simulation's."""
    found = snn.run(images[:3], record=["act"])
    spikes, planned = found.spikes["act"], snn.network.plan.sites["act"]
    assert spikes.shape == (6, 3, 4, 8, 8)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    with torch.no_grad():
        graph = snn.network.graph
        current = nn.functional.conv2d(images[:3], *list(graph.tensors.values())[:2], padding=1)
    total = planned.potential + 6 * current - found.values["act"].sum(0)
    torch.testing.assert_close(found.potentials["act"][-1], total, atol=1e-4, rtol=1e-4)
    plain = simulate(snn.network, images[:3], steps=6).outputs[0]
    torch.testing.assert_close(found.outputs[0], plain)
    with pytest.raises(ConfigError, match="no layer of neurons 'akt'"):
        snn.run(images[:3], record=["akt"])


def test_scores_and_warnings(module, images, labels, snn):
    scores = snn.evaluate((images[20:], labels[20:]))
    assert len(scores.accuracy) == 6
    assert scores.ann_accuracy == 1.0
    assert "ANN 100.00 %" in str(scores)
    assert "act" in scores._repr_html_()
    unlabelled = snn.evaluate(images[20:])
    assert unlabelled.accuracy is None
    with pytest.warns(ConvsnnWarning, match="calibrated"):
        snn.evaluate((images[:20], labels[:20]))


@pytest.mark.parametrize("steps", [0, 3, 10**9])
def test_steps_without_an_answer_are_refused_everywhere(module, images, steps):
    late = convsnn.convert(module, images[:20], 6, calibrate="max", readout_delay=3)
    for ask in (late, late.run, late.predict, lambda x, **given: late.evaluate(x, **given)):
        with pytest.raises(ConfigError, match=r"time ?steps"):
            ask(images[:2], timesteps=steps)


def test_what_a_network_is_for_can_be_said(snn, images, labels):
    ones = nn.functional.one_hot(labels, 3)
    with pytest.raises(ConfigError, match="classify or multilabel or regress"):
        snn.evaluate((images, ones))
    assert snn.evaluate((images, ones), task="multilabel").document["headline"] == "f1"
    assert snn.evaluate((images, labels), schedule="layers").network.schedule == "layers"
    with pytest.raises(ConfigError, match="fitted on the images that are scored"):
        snn.evaluate((images, labels), early_exit=90.0)


def test_thresholds_are_set_and_on_record(snn, images):
    half = snn.thresholds["act"].flatten() / 2
    other = snn.with_thresholds({"act": half})
    before, after = (s.network.plan.sites["act"] for s in (snn, other))
    torch.testing.assert_close(after.threshold.flatten(), half)
    torch.testing.assert_close(after.potential * 2, before.potential)
    assert other.network.plan.record[-1]["stage"] == "given thresholds"
    assert not torch.equal(other(images), snn(images))
    for wrong in (0.0, -1.0, float("nan"), torch.ones(5)):
        with pytest.raises(ConfigError, match="act"):
            snn.with_thresholds({"act": wrong})
    with pytest.raises(ConfigError, match="'acts'"):
        snn.with_thresholds({"acts": 1.0})
    with pytest.raises(ConfigError, match=r"layer by layer, not as 1\.5"):
        snn.with_thresholds(1.5)


def test_nothing_that_is_handed_out_writes_through(module, images):
    mine = Small().eval()
    mine.load_state_dict(module.state_dict())
    snn = convsnn.convert(mine, images[:20], timesteps=3, calibrate="mse")
    wanted = snn(images)
    with torch.no_grad():
        for parameter in mine.parameters():
            parameter.zero_()
    for tensor in (*snn.thresholds.values(), *snn.network.graph.tensors.values()):
        tensor.zero_()
    for site in snn.network.plan.sites.values():
        site.threshold.zero_()
    for buffer in snn.as_module().buffers():
        buffer.zero_()
    snn.network.provenance["timesteps"] = 99
    assert torch.equal(snn(images), wanted)
    assert snn.timesteps == 3


def test_as_a_module(snn, images):
    """Equal to the simulation, with names, hooks, state and float types of a module."""
    made = snn.as_module()
    torch.testing.assert_close(made(images[:4]), snn(images[:4]))
    seen = []
    made.get_submodule("body.1").register_forward_hook(lambda *_: seen.append(1))
    nn.Sequential(made, nn.Softmax(1))(images[:2])
    assert len(seen) == 6
    state = None
    for _ in range(6):
        answer, state = made.step(images[:4], state)
    assert torch.equal(answer, made(images[:4]))
    assert state.steps == 6
    wide = snn.as_module().double()
    assert wide(images[:2].double()).dtype == torch.float64
    assert {"stem.weight", "act.threshold", "head.bias"} <= set(made.state_dict())
    for wrong in (images[:2, :, 1:], images[:0], images[0]):
        with pytest.raises(convsnn.ConvsnnError, match=r"takes inputs \(B, \(1, 8, 8\)\)"):
            made(wrong)
    with pytest.raises(convsnn.ConvsnnError, match="not finite"):
        made(torch.full_like(images[:1], torch.nan))


class Clashing(nn.Module):
    """Names that the module which runs the network has itself, or once had."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU())
        self.readout = nn.Linear(5, 4)
        self.step = nn.Linear(4, 3)

    def forward(self, x):
        return self.step(self.readout(self.encoder(x)).relu())


def test_a_module_may_have_layers_of_any_name(images):
    torch.manual_seed(0)
    snn = convsnn.convert(Clashing().eval(), images[:20], timesteps=3, calibrate="mse")
    made = snn.as_module()
    torch.testing.assert_close(made(images[:4]), snn(images[:4]))
    named = set(made.state_dict())
    assert {"encoder.1.weight", "encoder.2.threshold", "readout.weight", "step_.bias"} <= named


def test_python_and_the_command_line_open_each_others(tmp_path, monkeypatch, capsys, labels, module,
                                                      images, snn):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name, rows in (("train", slice(0, 20)), ("test", slice(20, 40))):
        np.savez(f"{name}.npz", x=images[rows].numpy(), y=labels[rows].numpy())
    data = "npz:train.npz,test.npz"
    ours = convsnn.convert(module, data, timesteps=4, calibrate="mse")
    scores = ours.evaluate()
    folder = ours.report("out")
    assert sorted(p.name for p in folder.iterdir()) == [
        "network.safetensors", "report.html", "report.json"]  # fmt: skip
    code, out, err = run(capsys, "evaluate", "out", "--json")
    assert code == 0, err
    assert json.loads(out)["snn"]["accuracy"] == list(scores.accuracy)
    code, out, err = run(capsys, "diagnose", ours.save("alone.safetensors"), "--json")
    assert code == 0, err
    theirs, mine = json.loads(out), ours.diagnose().document
    assert theirs["layers"] == mine["layers"]
    again = convsnn.load("out")
    assert torch.equal(again(images), ours(images))
    assert again.evaluate().accuracy == scores.accuracy
    snn.save("given.safetensors")  # of images given in Python it only says that
    code, _, err = run(capsys, "evaluate", "given.safetensors")
    assert code == 2
    assert "--data" in err
    code, out, err = run(capsys, "evaluate", "given.safetensors", "--data", data, "--json")
    assert code == 0, err
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tested = snn.evaluate((images[20:], labels[20:])).accuracy
    assert json.loads(out)["snn"]["accuracy"] == list(tested)


def test_finetuning_gives_another_network(snn, images, labels):
    before = snn(images)
    tuned = snn.finetune((images, labels), timesteps=2, epochs=1)
    assert tuned.timesteps == 2
    assert torch.equal(snn(images), before)
    assert tuned.network.plan.record[-1]["stage"] == "finetune"
    with pytest.raises(LoadError, match="no labels"):
        snn.finetune(images, epochs=1)
