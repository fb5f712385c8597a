"""What Python users hand to the verbs: modules, images, places as text, and what is refused."""

import inspect
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import nn

import convsnn
from convsnn.commands.app import COMMANDS
from convsnn.errors import ConfigError, LoadError, UnsupportedError
from convsnn.load.tracing import trace
from convsnn.report.comparison import page as comparison_page
from convsnn.workflows.bench.settings import Settings
from convsnn.workflows.bench.subject import open_subject
from convsnn.workflows.compare.added import open_added
from convsnn.workflows.finetune import finetune_saved
from convsnn.workflows.finetune.asked import asked_for
from convsnn.workflows.subject.opening import Opening
from convsnn.workflows.subject.reading import Reading

VERBS = {name: getattr(convsnn, name) for name in convsnn.__all__ if not name[0].isupper()}
METHODS = {
    f"SNN.{name}": value
    for name, value in vars(convsnn.SNN).items()
    if callable(value) and name[0] != "_"
}
OTHERWISE = {"list": "catalogue"}  # list is a type of Python's own


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory where no page is drawn, which takes longer than all else."""
    monkeypatch.setattr("convsnn.workflows.evaluate.score.render_html", lambda _: "")
    monkeypatch.setattr("convsnn.workflows.finetune.saved.render_finetuning_page", lambda _: "")
    monkeypatch.setattr(comparison_page, "render_comparison_page", lambda _: "")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Digits(nn.Sequential):
    """A network that a user has in memory."""


def digits(seed: int = 0) -> Digits:
    torch.manual_seed(seed)
    return Digits(nn.Flatten(), nn.Linear(9, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture(scope="module")
def network():
    """The same, read: to trace it again takes longer than all else."""
    return convsnn.load_module(digits().eval(), torch.rand(2, 1, 3, 3))


def labelled(module: nn.Module, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images with labels that the module is mostly right on."""
    x = torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        y = module.eval()(x).argmax(1)
    return x, torch.where(torch.arange(count) % 5 == 0, (y + 1) % 3, y)


def leaves(annotation: Any) -> set[Any]:
    inner = annotation if isinstance(annotation, list) else get_args(annotation)
    return set().union(*map(leaves, inner)) if inner else {annotation}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_a_verb_in_python(name):
    name = OTHERWISE.get(name, name)
    assert name in VERBS or f"SNN.{name}" in METHODS


@pytest.mark.parametrize(
    "called", [*VERBS.values(), *METHODS.values(), finetune_saved, Opening, Settings, Reading],
    ids=lambda called: called.__qualname__,
)  # fmt: skip
def test_a_place_may_be_text(called):
    """That it is taken as text, mypy sees to."""
    for name, annotation in get_type_hints(called).items():
        kinds = leaves(annotation)
        assert Path not in kinds or str in kinds or name == "return", name


SUBJECTS = [convsnn.compare, convsnn.tune, convsnn.figures]


@pytest.mark.parametrize("verb", SUBJECTS, ids=lambda verb: verb.__name__)
def test_a_subject_is_read_as_convert_reads_it(verb):
    """The same keywords, and each is said in the docstring of `compare`, which the others name; a
    wrong one is refused by name."""
    ways = inspect.signature(convsnn.convert).parameters
    assert set(Reading.__annotations__) | {"data"} <= set(ways)
    if verb is not convsnn.compare:
        assert "`reading` are what `convsnn.compare` takes" in verb.__doc__
    for name in Reading.__annotations__:
        assert re.search(rf"\b{name}\b", convsnn.compare.__doc__), name
    with pytest.raises(
        TypeError, match=rf"{verb.__name__}\(\) has no option 'weigths': did you .*"
    ):
        verb("zoo:mnist5k-cnn", weigths="x")
    with pytest.raises(ConfigError, match="data beside a subject that says itself"):
        verb(Opening("zoo:mnist5k-cnn"), "mnist5k")


def test_compare_scores_images_that_it_never_calibrated_on(here, network):
    """The row is the network that convert makes of the same training images, and its scores are
    those that evaluate gives it on the same test images."""
    module = digits().eval()
    train, test = labelled(module, 40, seed=1), labelled(module, 30, seed=2)
    reading = {"calibration_samples": 30, "seed": 3, "device": "cpu"}
    found = convsnn.compare(
        module, train, test=test, methods="mse", timesteps=4, folder="pc", **reading
    )
    assert found.document["model"]["name"] == "Digits"
    assert found.document["data"]["calibration"]["samples"] == 30
    assert found.document["data"]["evaluation"]["samples"] == 30
    alone = convsnn.convert(network, data=train, timesteps=4, method="mse", **reading)
    (row,) = found.document["methods"]
    assert row["scores"] == alone.evaluate(test).accuracy
    for name, threshold in alone.thresholds.items():
        assert torch.equal(found.open("mse").plan.sites[name].threshold, threshold)
    for verb in (convsnn.compare, convsnn.figures):
        with pytest.raises(ConfigError, match="not told which images to score"):
            verb(module, train, folder="other")
    with pytest.raises(ConfigError, match=r"\(1, 2, 2\) are not what the network takes"):
        convsnn.compare(network, train, test=torch.rand(5, 1, 2, 2), folder="other")
    assert not Path("other").exists()


def test_preprocessing_is_that_of_what_is_named(here, network):
    """Images in memory are as the network takes them, the test images of a file are not."""
    import numpy as np

    x, y = labelled(digits(), 40, seed=1)
    raw = (255 * x).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    for name in ("train", "test"):
        np.savez(f"{name}.npz", x=raw, y=y.numpy())
    job = Opening(
        network, (x, y), test="npz:train.npz,test.npz", preprocessing={"mean": [0.5]}, device="cpu"
    ).open()
    shown, labels = next(job.data.test.batches(40, indices=range(40)))
    torch.testing.assert_close(shown, torch.from_numpy(raw).permute(0, 3, 1, 2) / 255 - 0.5)
    assert torch.equal(labels, y)
    assert torch.equal(next(job.data.train.batches(40, indices=range(40)))[0], x)
    with pytest.raises(ConfigError, match="preprocessing is for data that is named"):
        Opening(network, (x, y), test=(x, y), preprocessing={"mean": [0.5]}).open()


def test_tune_and_inspect_take_a_module_and_images(here, network):
    pytest.importorskip("optuna")
    module = digits().eval()
    images, labels = labelled(module, 40, seed=1)
    found = convsnn.tune(  # which asks no label: the network has no class of these numbers
        network, (images, 9 + labels), timesteps=2, trials=1, trial_samples=10,
        calibration_samples=20, folder="t",
    )  # fmt: skip
    assert found.folder == Path("t")
    assert found.document["rows"][0]["agreement"] is None
    assert found.document["data"]["calibration"]["samples"] == 20
    seen = convsnn.inspect(module, images, verify=True)
    assert seen.converts
    assert seen.document["layers"] == convsnn.inspect(network).document["layers"]
    with pytest.raises(ConfigError, match="not what the network takes"):
        convsnn.inspect(network, torch.rand(2, 1, 4, 4))


def test_bench_measures_a_copy_of_a_module():
    module = digits().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    subject = open_subject(
        module, weights=None, input_shape=(1, 3, 3), steps=2, seed=0, device=torch.device("cpu")
    )
    assert subject.name == "Digits"
    assert module.training
    assert subject.ann is not module
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    with pytest.raises(TypeError, match=r"bench\(\) has no option 'repeat': did you mean repeats"):
        convsnn.bench(module, repeat=3)
    with pytest.raises(ConfigError, match="'Digits given in Python' does not say its input shape"):
        convsnn.bench(module, peers=())


def test_one_network_is_known_in_every_form(here, network):
    """By what it computes: its digest is of a module, of a file of weights, or of an ONNX file."""
    module = digits().eval()
    train = labelled(module, 40, seed=1)
    kept = convsnn.convert(network, train, timesteps=2, calibration_samples=20).save(
        "kept.safetensors"
    )
    with torch.no_grad():
        folded = nn.Sequential(*module[:2], nn.ReLU(), module[4]).eval()
        scale = module[2].weight / (module[2].running_var + module[2].eps).sqrt()
        folded[1] = nn.Linear(9, 8)
        folded[1].weight.copy_(module[1].weight * scale[:, None])
        folded[1].bias.copy_((module[1].bias - module[2].running_mean) * scale + module[2].bias)
    for other, same in ((network, True), (folded, True), (digits(1).eval(), False)):
        (added,) = open_added([kept], Opening(other, train, calibration_samples=20).open())
        assert added.same is same


def test_finetune_names_its_options(here, network):
    snn = convsnn.convert(
        network, labelled(digits(), 40, seed=1), timesteps=2, calibration_samples=20
    )
    with pytest.raises(TypeError, match=r"finetune\(\) has no option 'bogus': .*learning_rate, "):
        snn.finetune(timesteps=2, bogus=3)
    with pytest.raises(TypeError, match="has no option 'resume'"):
        snn.finetune(timesteps=2, resume=True)
    with pytest.raises(TypeError, match=r"predict\(\) has no option 'topp': did you mean top\?"):
        snn.predict(torch.rand(2, 1, 3, 3), topp=3)
    with pytest.raises(TypeError, match=r"export\(\) has no option 'shape'"):
        snn.export("x.onnx", shape=3)
    with pytest.raises(ConfigError, match="not which images to score"):
        snn.finetune(labelled(digits(), 40, seed=1), folder="tuned")
    with pytest.raises(LoadError, match="no labels"):
        snn.finetune(torch.rand(9, 1, 3, 3), epochs=1)
    command = asked_for(4, {"learning_rate_schedule": "steps:1/0.1", "reset": "zero"}, writes=False)
    assert command.settings.schedule == "steps:1/0.1"
    assert command.tuning.reset == "hard"


def test_finetune_writes_what_the_command_writes(here, network):
    import numpy as np

    from convsnn.commands import main

    train, test = labelled(digits(), 40, seed=1), labelled(digits(), 20, seed=2)
    for name, (x, y) in (("train", train), ("test", test)):
        np.savez(f"{name}.npz", x=(255 * x).round().to(torch.uint8).permute(0, 2, 3, 1), y=y)
    data = "npz:train.npz,test.npz"
    snn = convsnn.convert(network, data, timesteps=2, calibration_samples=20, device="cpu")
    snn.save("saved.safetensors")
    quick = ["--timesteps", "1", "--epochs", "1", "--device", "cpu", "--json"]
    assert main(["finetune", "saved.safetensors", *quick, "-o", "command"]) == 0
    tuned = snn.finetune(timesteps=1, epochs=1, device="cpu", folder="python")
    names = {path.name for path in Path("command").iterdir()}
    assert {path.name for path in Path("python").iterdir()} == names
    assert {"finetuning.html", "report.html", "network.safetensors"} <= names
    for name, threshold in convsnn.load("command").thresholds.items():
        assert torch.equal(tuned.thresholds[name], threshold)
    given = snn.finetune(train, 1, test=test, epochs=1, device="cpu", folder="given")
    assert given.timesteps == 1
    with pytest.raises(ConfigError, match="given"):  # the folder is taken
        snn.finetune(train, 1, test=test, epochs=1, folder="given")


class Two(nn.Module):
    """Takes two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Bilinear(9, 9, 3)

    def forward(self, x, y):
        return self.layer(x, y).relu()


class Inner(nn.Module):
    """Takes one, and calls a layer of its own wrongly."""

    def __init__(self) -> None:
        super().__init__()
        self.two = Two()

    def forward(self, x):
        return self.two(x)


def test_a_module_of_two_inputs_is_told_from_one_of_another_shape():
    x = torch.rand(2, 9)
    with pytest.raises(
        UnsupportedError, match=r"Two does not take one input: .*missing.*'y'"
    ) as refused:
        trace(Two(), x)
    assert "one input" in refused.value.hint
    with pytest.raises(UnsupportedError, match="fails on an input") as refused:
        trace(Inner(), x)
    assert "does not take" not in str(refused.value)
    with pytest.raises(UnsupportedError, match="fails on an input") as refused:
        trace(nn.Linear(8, 3), x)
    assert "check that the input shape" in refused.value.hint
