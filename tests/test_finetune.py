"""Fine-tuning: from a converted network to a trained one, going on after a kill, and refusals."""

import json
from dataclasses import asdict, replace
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Maker, dyadic_plan, random_graph

from convsnn.commands import main
from convsnn.errors import ConfigError, LoadError, TrainingError, UnsupportedError
from convsnn.export import load_artifact, save_artifact
from convsnn.graph import Graph, run
from convsnn.measure import evaluate
from convsnn.neurons.fused import compiler
from convsnn.report.finetuning.page import render_finetuning_page
from convsnn.spiking.network import Spiking
from convsnn.spiking.network import to_spiking as spiking
from convsnn.spiking.plan import Plan, SitePlan
from convsnn.train import loop
from convsnn.train.averaging import RunningMean
from convsnn.train.distillation import Distillation, Tuning
from convsnn.train.finetune import Tuned, finetune, parameter_groups, trainable
from convsnn.train.loop import LAST
from convsnn.train.methods import METHODS
from convsnn.train.network import TrainableNetwork
from convsnn.train.samples import Batch, InMemory, mixed, moved
from convsnn.train.scan import LONGEST
from convsnn.train.settings import Epoch, Settings, permutation, split


def small(*, ceiling: float | None = None) -> Graph:
    """A network of two hidden layers for (1, 4, 4) images of three classes."""
    maker = Maker(np.random.default_rng(5), (1, 4, 4), exact=False)
    x = maker.conv("input", 6, padding=1)
    x = maker.relu(x) if ceiling is None else maker.emit("clip", x, ceiling=ceiling)
    x = maker.relu(maker.linear(maker.flatten(x), 12))
    return maker.graph(maker.linear(x, 3))


def labelled(graph: Graph, count: int = 60) -> InMemory:
    """Random images with the labels that the original network gives them."""
    x = torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return InMemory(x, run(graph, x)[graph.outputs[0]].argmax(1))


def coarse(graph: Graph, factor: float = 3.0) -> Spiking:
    """A conversion with thresholds far too high for few steps."""
    sites = {}
    for name, site in graph.sites.items():
        threshold = torch.full((site.channels, *[1] * (len(site.shape) - 1)), factor)
        if site.ceiling is not None:
            threshold = threshold.clamp(max=site.ceiling)
        sites[name] = SitePlan(threshold, threshold * 0.5, 0.01 * torch.ones_like(threshold))
    return spiking(graph, Plan(sites), provenance={"method": {}, "model": {}})


def tuned(**options: Any) -> Tuned:
    """A short training of the small network."""
    graph = small()
    chosen = {"steps": 3, "epochs": 3, "batch_size": 20, "learning_rate": 5e-3, **options}
    folder = chosen.pop("folder", None)
    every = chosen.pop("every", 200)
    tuning = chosen.pop("tuning", None)
    return finetune(
        coarse(graph), labelled(graph), Settings(**chosen), tuning, folder=folder, device="cpu",
        every=every,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "learned"),
    [
        ("mean:delay=1", "mean:delay=1"),
        ("rising", "rising"),
        ("rising:power=2", "rising"),
        ("rising:delay=1,power=2", "rising:delay=1"),
    ],
)
def test_a_steep_readout_rises_with_the_step(given: str, learned: str) -> None:
    graph = small()
    start = replace(coarse(graph), readout=given)
    settings = Settings(steps=3, epochs=1, batch_size=20)
    net = finetune(start, labelled(graph), settings, device="cpu").net
    assert net.readout == learned
    # reports say what stands there: the conversion's readout and neuron are of before
    assert net.provenance["method"]["readout"] == learned
    assert net.provenance["method"]["neuron"] == net.neuron


def weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights and biases, by their names."""
    named = network.named_parameters()
    return {n: w.detach().double() for n, w in named if n.startswith("tensor_")}


@pytest.mark.parametrize("method", METHODS)
def test_each_method_makes_a_coarse_network_agree_better(method: str) -> None:
    graph = small()
    net, samples = coarse(graph), labelled(graph)
    settings = Settings(steps=3, epochs=15, batch_size=20, learning_rate=2e-2)
    done = finetune(net, samples, settings, Tuning(method), device="cpu")
    batches = [(samples.x, samples.labels)]
    before = evaluate(net, batches, steps=3)
    after = evaluate(done.net, batches, steps=3)
    assert float(after.agreement[-1]) > float(before.agreement[-1]) + 0.1
    assert after.ann_accuracy == before.ann_accuracy == 1.0  # the original network is still there
    assert set(done.net.plan.weights) <= set(graph.tensors)
    moved_thresholds = [
        name for name, planned in done.net.plan.sites.items()
        if not torch.equal(planned.threshold, net.plan.sites[name].threshold)
    ]  # fmt: skip
    assert bool(moved_thresholds) == (method not in ("fixed", "hybrid"))
    training = done.net.provenance["method"]["training"]
    assert training["method"] == method
    assert training["epochs"] == 15
    assert "same reset and leak" in training["changes"][1]
    assert net.plan.weights == {}  # what was given is as it was


def test_one_number_per_layer_or_per_channel() -> None:
    counts = {
        per: tuned(epochs=1, tuning=Tuning(per=per)).net.provenance["model"]["thresholds"]
        for per in ("layer", "channel")
    }
    assert counts == {"layer": 2, "channel": 6 + 12}


@pytest.mark.parametrize("teacher", [True, False])
def test_a_leak_is_an_artifact_and_is_said(teacher: bool) -> None:
    done = tuned(tuning=Tuning(decay=0.5, reset="hard", teacher=teacher))
    assert done.net.neuron == "lif:decay=0.5,reset=zero,sends=threshold"
    changes = done.net.provenance["method"]["training"]["changes"]
    assert changes[1] == "neurons are lif:decay=0.5,reset=zero,sends=threshold, and were if"


def test_thresholds_stay_below_a_ceiling() -> None:
    graph = small(ceiling=1.0)
    for method in ("lt-snn", "ltmd", "dsr"):
        settings = Settings(steps=2, epochs=4, batch_size=20, learning_rate=0.1)
        done = finetune(coarse(graph), labelled(small()), settings, Tuning(method), device="cpu")
        name = next(n for n, site in graph.sites.items() if site.ceiling is not None)
        assert float(done.net.plan.sites[name].threshold.max()) <= 1.0 + 1e-6


def keep_mean(means: dict[str, torch.Tensor], name: str) -> Any:
    """A hook that keeps the mean over time of what a module gives."""
    return lambda _module, _given, out: means.update({name: out.mean(0)})


def test_mixed_images_are_of_two_and_need_a_teacher() -> None:
    x = torch.arange(40.0).reshape(40, 1, 1, 1).expand(40, 1, 8, 8)
    found = mixed(x, generator=torch.Generator().manual_seed(3))
    kinds = [len(image.unique()) for image in found]
    whole = [float(image[0, 0, 0]) == n and kinds[n] == 1 for n, image in enumerate(found)]
    assert 10 < sum(whole) < 30
    assert {1, 2} == set(kinds)  # blended or as it was, or with another one in it
    assert float(found.min()) >= 0
    assert float(found.max()) <= 39
    graph = small()
    data = replace(labelled(graph), augment="shift-flip-mix")
    settings = Settings(steps=2, epochs=1, batch_size=20)
    finetune(coarse(graph), data, settings, Tuning(), device="cpu")
    for tuning in (Tuning(teacher=False), Tuning(labels=0.5)):
        with pytest.raises(ConfigError, match="mixed images have no labels"):
            finetune(coarse(graph), data, settings, tuning, device="cpu")


def test_the_loss_is_that_of_answers_and_of_activations() -> None:
    graph = small()
    net, samples = coarse(graph), labelled(graph)
    settings = Settings(steps=3)
    batch = samples.batch(range(7), generator=None)
    teacher = run(graph, batch.x, keep=[*graph.sites, graph.outputs[0]])
    for weight in (0.0, 2.0):
        tuning = Tuning(hints=weight, temperature=3.0)
        network = trainable(net, tuning)
        loss = Distillation(graph, network, tuning, settings, last=False)
        sent: dict[str, torch.Tensor] = {}
        for name in graph.sites:
            network.site(name).register_forward_hook(keep_mean(sent, name))
        logits = network(batch.x, steps=3)
        wanted = (teacher[graph.outputs[0]] / 3).softmax(1)
        means = [logits[:step].mean(0) for step in (1, 2, 3)]
        parts = [(wanted * (wanted.log() - (m / 3).log_softmax(1))).sum(1).mean() for m in means]
        answers = 9 * sum(step / 6 * part for step, part in zip((1, 2, 3), parts, strict=True))
        missed = [(sent[n] - teacher[n]).square().mean() / teacher[n].var() for n in graph.sites]
        found = loss(logits, batch, network)
        torch.testing.assert_close(found, answers + weight * sum(missed) / 2)


@pytest.mark.skipif(compiler() is not None, reason=f"nothing can be compiled here: {compiler()}")
def test_compiled_loops_train_to_the_same_network() -> None:
    graph = small()
    found = [
        finetune(
            coarse(graph), labelled(graph), Settings(steps=LONGEST + 1, epochs=1, batch_size=20),
            device="cpu", compile=compiled,
        )
        for compiled in (False, True)
    ]  # fmt: skip
    for name, one in found[0].net.plan.sites.items():
        two = found[1].net.plan.sites[name]
        torch.testing.assert_close(one.threshold, two.threshold, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(one.potential, two.potential, rtol=1e-4, atol=1e-6)
    losses = [done.state.history[0]["loss"] for done in found]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


class Stop(Exception):
    """Stands for a kill."""


def stopped(folder: Path, after: int, **options: Any) -> None:
    """The same training, killed in the middle of an update."""
    seen = 0
    original = TrainableNetwork.forward

    def forward(self: TrainableNetwork, *args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        seen += self.training
        if seen > after:
            raise Stop
        return original(self, *args, **kwargs)

    TrainableNetwork.forward = forward  # type: ignore[method-assign]
    try:
        with pytest.raises(Stop):
            tuned(folder=folder, **options)
    finally:
        TrainableNetwork.forward = original  # type: ignore[method-assign]


@pytest.mark.parametrize("after", [2, 3, 5])
@pytest.mark.parametrize("more", [{}, {"held_out": 0.2, "average": 0.9}])
def test_going_on_gives_the_same_losses_to_the_last_digit(
    tmp_path: Path, after: int, more: dict[str, Any]
) -> None:
    whole = tuned(folder=tmp_path / "whole", every=2, **more)
    stopped(tmp_path / "cut", after, every=2, **more)
    again = tuned(folder=tmp_path / "cut", every=2, **more)
    assert again.state.done == whole.state.done
    for one, two in zip(again.state.epochs(), whole.state.epochs(), strict=True):
        assert replace(one, seconds=0) == replace(two, seconds=0)
    for name, tensor in whole.net.plan.weights.items():
        assert torch.equal(tensor, again.net.plan.weights[name])


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    tuned(folder=tmp_path, epochs=1)
    kept = (tmp_path / LAST).read_bytes()
    with pytest.raises(ConfigError, match=r"belongs to other .*settings"):
        tuned(folder=tmp_path, epochs=2)
    with pytest.raises(ConfigError, match=r"belongs to other .*settings"):
        tuned(folder=tmp_path, epochs=1, tuning=Tuning("ltmd"))
    graph = small()
    settings = Settings(steps=3, epochs=1, batch_size=20, learning_rate=5e-3)
    good = labelled(graph)
    swapped = good.labels.clone()
    swapped[-1] = 1 - swapped[-1].clamp(max=1)  # the last label alone
    for net, samples, what in [
        (coarse(graph, 2.0), good, "settings"),
        (coarse(graph), InMemory(good.x + 1, good.labels), "data"),
        (coarse(graph), InMemory(good.x, swapped), "data"),
    ]:
        with pytest.raises(ConfigError, match=f"belongs to other {what}"):
            finetune(net, samples, settings, folder=tmp_path, device="cpu")
    assert (tmp_path / LAST).read_bytes() == kept
    (tmp_path / LAST).write_bytes(kept[: len(kept) // 2])
    with pytest.raises(LoadError, match="no whole checkpoint"):
        tuned(folder=tmp_path, epochs=1)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_one(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"epoch \d+, update \d+") as caught:
        tuned(folder=tmp_path, epochs=10, learning_rate=1e30, every=1)
    assert str(tmp_path / LAST) in caught.value.hint


def test_a_network_that_collapses_stops() -> None:
    accuracies = iter([0.9, 0.4])

    def epoch(self: Any, number: int) -> None:
        entry = Epoch(number + 1, 1.0, next(accuracies), None, 1e-3, 0.0, {}, {})
        self._guard_collapse(entry)
        self.state.history.append(asdict(entry))
        self.state.epoch += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Run, "epoch", epoch)
        with pytest.raises(TrainingError, match=r"collapsed in epoch 2: .* 40.0% right"):
            tuned()


@pytest.mark.parametrize(("average", "rate"), [(0.0, 0.3), (0.9, 0.1)])
def test_patience_goes_back_to_the_best(tmp_path: Path, average: float, rate: float) -> None:
    done = tuned(
        folder=tmp_path, epochs=30, held_out=0.3, patience=2, learning_rate=rate, every=0,
        average=average,
    )  # fmt: skip
    scores = [e["held_out"] for e in done.state.history]
    assert len(scores) < 30
    assert done.state.best == max(scores)
    assert done.state.epoch - done.state.best_epoch == 2
    graph = small()
    samples = labelled(graph)
    held, _ = split(len(samples), 0.3, seed=0)
    batch = samples.batch(held, generator=None)
    again = evaluate(done.net, [(batch.x, batch.labels)], steps=3)
    assert again.accuracy is not None
    assert float(again.accuracy[-1]) == pytest.approx(done.state.best)


def test_what_is_left_is_the_running_mean_of_what_was_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at: list[dict[str, torch.Tensor]] = []
    add = RunningMean.add

    def seen(self: RunningMean, update: int) -> None:
        at.append(weights(self.network))
        add(self, update)

    monkeypatch.setattr(RunningMean, "add", seen)
    done = tuned(average=0.5, held_out=0.2)
    wanted = weights(trainable(coarse(small()), Tuning()))
    for update, parameters in enumerate(at, 1):
        share = 1 - min(0.5, (1 + update) / (10 + update))
        wanted = {n: w + share * (parameters[n] - w) for n, w in wanted.items()}
    left = weights(trainable(done.net, Tuning()))
    for name, value in wanted.items():
        torch.testing.assert_close(left[name], value, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(at[-1][name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_weights_learn_at_their_part_of_the_rate(rate: float) -> None:
    """The optimiser's first update moves every value by its rate, whatever the gradient: that of a
    weight is in units of its channel's size, beside the mean of all channels."""
    start = weights(trainable(coarse(small()), Tuning()))
    sizes = {n: w.flatten(1).square().mean(1).sqrt() for n, w in start.items() if w.dim() > 1}
    mean = torch.cat(list(sizes.values())).mean()
    chosen = Settings(steps=3, epochs=1, batch_size=60, learning_rate=20e-3)  # a 20th: warming up
    graph = small()
    tuning = Tuning(weights_rate=rate)
    net = finetune(coarse(graph), labelled(graph), chosen, tuning, device="cpu").net
    for name, after in weights(trainable(net, Tuning())).items():
        wide = after.dim() > 1
        share = rate * sizes[name] / mean if wide else torch.ones(())
        found = (after - start[name]).abs()
        found = found.flatten(1).amax(1) if wide else found.max()
        torch.testing.assert_close(found, 1e-3 * share.double(), rtol=1e-2, atol=1e-8)


def test_units_are_of_output_channels_and_1_where_nothing_is() -> None:
    maker = Maker(np.random.default_rng(5), (2, 4, 4), exact=False)
    x = maker.conv_transpose(maker.relu(maker.conv("input", 3, padding=1)), 5)
    weight = maker.tensors[maker.nodes[-1].inputs[1]]  # (in, out, height, width)
    weight *= torch.tensor([0.0, 1e-3, 1.0, 2.0, 4.0]).reshape(1, 5, 1, 1)
    graph = maker.graph(maker.linear(maker.flatten(maker.relu(x)), 3))
    net = trainable(coarse(graph), Tuning())
    group = parameter_groups(net)[0]
    units = {tuple(w.shape): u for w, u in zip(group["params"], group["units"], strict=True)}
    found = units[3, 5, 3, 3]
    assert found.shape == (1, 5, 1, 1)
    assert float(found[0, 0]) == 1.0
    sizes = weight.square().mean((0, 2, 3)).sqrt()[1:]
    torch.testing.assert_close(found[0, 1:, 0, 0] / found[0, 2, 0, 0], sizes / sizes[1])
    for w in net.parameters():
        w.data.zero_()
    assert all(bool((unit == 1).all()) for unit in parameter_groups(net)[0]["units"])


def test_precisions_follow_each_other_in_one_process() -> None:
    first = tuned(epochs=1).state.epochs()[0].loss
    mixed = tuned(epochs=1, precision="bfloat16").state.epochs()[0].loss
    assert mixed != first
    assert mixed == pytest.approx(first, rel=0.1)
    assert tuned(epochs=1).state.epochs()[0].loss == first


def test_minutes_end_the_run_with_the_rate_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    clock = SimpleNamespace(perf_counter=lambda: next(ticks) / 1000)  # however busy the machine
    monkeypatch.setattr(loop, "time", clock)
    rates: list[float] = []
    graph = small()
    settings = Settings(steps=2, epochs=100_000, batch_size=20, minutes=0.02)

    def note(epoch: Epoch) -> None:
        rates.append(epoch.learning_rate)

    done = finetune(coarse(graph), labelled(graph), settings, device="cpu", progress=note)
    assert 1.1 < done.state.seconds < 1.3
    assert rates[-1] < 0.05 * settings.learning_rate
    assert all(later <= sooner for sooner, later in pairwise(rates[10:]))


def test_samples_are_split_and_ordered_by_the_seed_alone() -> None:
    held, rest = split(50, 0.2, seed=3)
    assert sorted([*held, *rest]) == list(range(50))
    assert (held, rest) == split(50, 0.2, seed=3)
    assert permutation(rest, seed=3, epoch=0) != permutation(rest, seed=3, epoch=1)
    assert sorted(permutation(rest, seed=3, epoch=1)) == sorted(rest)
    with pytest.raises(ConfigError, match="holding out"):
        split(3, 0.01, seed=0)


def test_images_are_moved_each_on_its_own() -> None:
    images = torch.arange(2 * 3 * 16 * 16).reshape(2, 3, 16, 16).float() + 1
    fill = torch.tensor([-1.0, -2.0, -3.0]).reshape(3, 1, 1)
    found = moved(images, fill=fill, flip=False, generator=torch.Generator().manual_seed(1))
    for image, shifted in zip(images, found, strict=True):
        places = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.equal(
                shifted,
                torch.nn.functional.pad(image - fill, (2, 2, 2, 2))[
                    :, 2 + down : 18 + down, 2 + right : 18 + right
                ]
                + fill,
            )
        ]
        assert len(places) == 1
    flipped = moved(
        images.repeat(20, 1, 1, 1), fill=fill, flip=True, generator=torch.Generator().manual_seed(1)
    )
    rising = (flipped[:, 0, 8, 4:12].diff() > 0).all(1)
    assert 5 < int(rising.sum()) < 35
    samples = InMemory(images, torch.tensor([0, 1]), "shift-flip")
    assert torch.equal(samples.batch([1], generator=None).x, images[1:])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"steps": 0}, "positive steps"),
        ({"epochs": 0}, "positive epochs"),
        ({"learning_rate": float("nan")}, "positive learning_rate"),
        ({"minutes": -1.0}, "positive minutes"),
        ({"patience": 3}, "held out"),
        ({"held_out": 1.0}, "held_out"),
        ({"average": 1.0}, "average"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Settings(**settings)


def test_samples_that_cannot_be_trained_on() -> None:
    graph = small()
    good = labelled(graph)
    with pytest.raises(ConfigError, match="of class 1"):
        InMemory(good.x, torch.ones(60, dtype=torch.int64))
    with pytest.raises(ConfigError, match="not finite"):
        InMemory(good.x / 0, good.labels)
    with pytest.raises(ConfigError, match="labels"):
        InMemory(good.x, good.labels[1:])
    with pytest.raises(ConfigError, match="no images"):
        InMemory(good.x.flatten(1), good.labels, "shift")
    wrong = InMemory(good.x, good.labels + 1)
    with pytest.raises(ConfigError, match="3 classes"):
        finetune(coarse(graph), wrong, Settings(epochs=1), device="cpu")


def test_networks_that_cannot_be_trained() -> None:
    graph = small()
    samples = labelled(graph)
    net = coarse(graph)
    plan = Plan({n: SitePlan(p.threshold, p.potential) for n, p in net.plan.sites.items()})
    for changed, says in [
        (spiking(graph, plan, neuron="burst"), "burst"),
        (spiking(graph, plan, encoder="poisson"), "poisson"),
    ]:
        with pytest.raises(UnsupportedError, match=says):
            finetune(changed, samples, Settings(epochs=1), device="cpu")
    with pytest.raises(ConfigError, match="unknown method"):
        Tuning("lt-snm")


def write_job(folder: Path, *, labels: bool = True, classes: int = 3) -> Path:
    """A converted network with its data in `folder`; returns the artifact's folder."""
    graph = small()
    samples = labelled(graph, 80)
    for name, part in (("train", slice(0, 60)), ("test", slice(60, 80))):
        arrays = {"x": samples.x[part].numpy()}
        if labels:
            arrays["y"] = samples.labels[part].clamp(max=classes - 1).numpy()
        np.savez(folder / f"{name}.npz", **arrays)
    net = coarse(graph)
    about = {
        "command": "convsnn convert", "model": {"name": "small", "source": "small", "sha256": "",
        "parameters": 1, "thresholds": 0, "input_shape": [1, 4, 4]},
        "data": f"npz:{folder}/train.npz,{folder}/test.npz", "preprocessing": {"scale": 1.0},
        "versions": {}, "calibration": {"source": "x", "split": "train", "samples": 8},
        "method": {"calibration": "mse", "neuron": "if", "encoder": "direct", "max_pool": "exact",
        "readout": "mean"}, "seed": 0, "timesteps": 8, "batch_size": 50, "samples": None,
    }  # fmt: skip
    (folder / "net").mkdir()
    save_artifact(replace(net, provenance=about), folder / "net" / "network.safetensors")
    return folder / "net"


COMMON = ["--device", "cpu", "--epochs", "3", "--batch-size", "20", "--timesteps", "3"]


def test_the_command_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = write_job(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["finetune", str(artifact), *COMMON, "--held-out", "0.1", "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert "epoch 3/3" in err
    assert report["timesteps"] == 3
    assert report["ann"]["accuracy"] == 1.0
    assert report["model"]["thresholds"] == 18
    training = report["method"]["training"]
    assert {"method", "epochs", "seconds", "teacher", "learning_rate", "timesteps", "samples"} <= (
        training.keys()
    )
    result = tmp_path / "net-lt-snn"
    assert {p.name for p in result.iterdir()} == {
        "network.safetensors", "report.json", "report.html", "finetuning.json", "finetuning.html"
    }  # fmt: skip
    assert not (tmp_path / "net-lt-snn.training").exists()
    assert main(["evaluate", str(result), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["snn"]["accuracy"] == report["snn"]["accuracy"]
    assert again["method"] == report["method"]
    assert main(["evaluate", str(artifact), "--timesteps", "3", "--json"]) == 0
    before = json.loads(capsys.readouterr().out)["snn"]["accuracy"][-1]
    course = json.loads((result / "finetuning.json").read_text())
    assert course["before"]["score"][-1] == before
    assert course["after"]["score"] == report["snn"]["accuracy"]
    assert [epoch["number"] for epoch in course["epochs"]] == [1, 2, 3]
    assert course["data"]["training"]["samples"] == 60
    for time, place in (("before", artifact), ("after", result)):
        sites = load_artifact(place / "network.safetensors").plan.sites
        for layer in course["layers"]:
            threshold = sites[layer["name"]].threshold.double()
            found = [float(f(threshold)) for f in (torch.min, torch.mean, torch.max)]
            assert list(layer["threshold"][time].values()) == found
    page = (result / "finetuning.html").read_text()
    assert page == render_finetuning_page(course)
    assert all(layer["name"] in page for layer in course["layers"])
    said = f"as converted, after 3 steps: accuracy {100 * before:.2f} %"
    assert err.index(said) < err.index("epoch 1/3")
    net = load_artifact(result / "network.safetensors")
    assert net.plan.record[-1]["stage"] == "finetune"
    assert len(net.plan.record[-1]["history"]) == 3


def test_a_stopped_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = write_job(tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments = ["finetune", str(artifact), *COMMON, "-o", "out"]
    with monkeypatch.context() as patch:
        patch.setattr("convsnn.workflows.finetune.saved._finished", interrupted)
        assert main(arguments) == 130
    assert (tmp_path / "out.training" / LAST).exists()
    assert main(arguments) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--csv", "tables"]) == 0
    course = json.loads((tmp_path / "out" / "finetuning.json").read_text())
    assert len(course["before"]["score"]) == len(course["epochs"]) == 3
    assert (tmp_path / "tables" / "epochs.csv").read_text().startswith("epoch,loss,accuracy")
    assert main([*arguments[:-1], "other", "--resume"]) == 2


def interrupted(*_given: Any, **_named: Any) -> int:
    """Stands for Ctrl-C."""
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--timesteps", "0"], "positive steps"),
        (["--method", "lt-snm"], "lt-snm"),
        (["--epochs", "0"], "positive epochs"),
        (["--data", "npz:{0}/none.npz,{0}/test.npz"], "none.npz"),
        (["--augment", "rotate"], "rotate"),
        (["--held-out", "0.001"], "holding out"),
    ],
)
def test_the_command_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    change: list[str], says: str,
) -> None:  # fmt: skip
    artifact = write_job(tmp_path)
    monkeypatch.chdir(tmp_path)
    filled = [part.format(tmp_path) for part in change]
    assert main(["finetune", str(artifact), *COMMON, *filled]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert "Traceback" not in err
    assert "unexpected" not in err
    assert not (tmp_path / "net-lt-snn").exists()


@pytest.mark.parametrize(("labels", "classes", "says"), [(False, 3, "labels"), (True, 1, "class")])
def test_the_command_needs_labels_of_several_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    labels: bool, classes: int, says: str,
) -> None:  # fmt: skip
    artifact = write_job(tmp_path, labels=labels, classes=classes)
    monkeypatch.chdir(tmp_path)
    assert main(["finetune", str(artifact), *COMMON]) == 2
    assert says in capsys.readouterr().err


def test_a_converted_random_network_can_be_trained() -> None:
    graph = random_graph(1, exact=False)
    net = spiking(graph, dyadic_plan(graph, 1), provenance={"method": {}, "model": {}})
    shape = tuple(graph.input.attrs["shape"])
    x = torch.randn(30, *shape, generator=torch.Generator().manual_seed(1))
    samples = InMemory(x, torch.arange(30) % 3)
    done = finetune(net, samples, Settings(steps=2, epochs=2, batch_size=10), device="cpu")
    assert done.state.done == 6
    assert isinstance(samples.batch([0], generator=None), Batch)
