"""Exported ONNX graphs in ONNX Runtime alone: the spikes and answers of our own simulation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import Maker, dyadic_plan, images, random_graph

from convsnn.encoders import ENCODERS
from convsnn.errors import ExportError
from convsnn.export.nir import nir_graph
from convsnn.export.onnx import Form, onnx_model, save_onnx
from convsnn.graph import Graph, Node
from convsnn.simulate import simulate
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.spiking.plan import Plan, SitePlan

STEPS = 6
PLAIN = (
    "if", "if:reset=zero", "signed", "burst:gamma=3", "lif:decay=0.5,sends=threshold",
    "cuba:decay=0.5,current=0.5,sends=threshold",
)  # fmt: skip
READOUTS = (
    "mean", "rising", "mean:delay=2", "rising:delay=3", "rising:power=2", "rising:power=2,delay=3",
)  # fmt: skip


def session(model: Any) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString())


def stepped(model: Any, x: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """Every output that is no state, over the steps; states start as zeros."""
    run, states = session(model), {}
    for given in model.graph.input[1:]:
        sizes = [d.dim_value or len(x) for d in given.type.tensor_type.shape.dim]
        states[given.name] = np.zeros(sizes, x.dtype)
    names = [o.name for o in model.graph.output]
    kept: dict[str, list[np.ndarray]] = {}
    for _ in range(steps):
        got = dict(zip(names, run.run(None, {"x": x, **states}), strict=True))
        states = {name: got[f"next.{name}"] for name in states}
        for name in names:
            if not name.startswith("next."):
                kept.setdefault(name, []).append(got[name])
    return {name: np.stack(parts) for name, parts in kept.items()}


def looped(model: Any, x: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    run = session(model)
    feed = {"x": x, "timesteps": np.array(steps, np.int64)}
    names = [o.name for o in run.get_outputs()]
    return dict(zip(names, run.run(None, feed), strict=True))


def observed(net: Spiking, x: torch.Tensor, steps: int) -> dict[str, np.ndarray]:
    """What our own simulation answers and sends."""
    sent: dict[str, list[np.ndarray]] = {}

    def observe(node: Any, span: range, values: torch.Tensor) -> None:
        del span
        if node.name in net.graph.sites:
            sent.setdefault(f"spikes.{node.name}", []).append(values.numpy())

    run = simulate(net, x, steps=steps, observe=observe)
    found = {name: np.concatenate(parts) for name, parts in sent.items()}
    return {"logits": run.outputs[0].numpy(), **found}


def assert_equal(got: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)


@pytest.mark.parametrize("neuron", PLAIN)
@pytest.mark.parametrize("seed", range(4))
def test_dyadic_networks_are_equal_to_the_last_bit(neuron: str, seed: int) -> None:
    graph = random_graph(seed)
    if "clip" in {site.kind for site in graph.sites.values()} and neuron.startswith("burst"):
        neuron = "if"
    readout = READOUTS[seed % len(READOUTS)]
    plan = dyadic_plan(graph, seed, timed_bias=True)
    net = to_spiking(graph, plan, neuron=neuron, readout=readout)
    x = images(graph, seed, 3)
    wanted = observed(net, x, STEPS)
    assert_equal(stepped(onnx_model(net, spikes=True), x.numpy(), STEPS), wanted)
    loop = onnx_model(net, form="loop", spikes=True)
    assert_equal(looped(loop, x.numpy(), STEPS), wanted)


def test_batches_are_free_and_steps_may_be_more() -> None:
    graph = random_graph(5)
    net = to_spiking(graph, dyadic_plan(graph, 5))
    loop, step = onnx_model(net, form="loop"), onnx_model(net)
    for batch in (1, 4):
        x = images(graph, batch, batch)
        wanted = simulate(net, x, steps=5).outputs[0].numpy()
        np.testing.assert_array_equal(looped(loop, x.numpy(), 5)["logits"], wanted)
        np.testing.assert_array_equal(stepped(step, x.numpy(), 5)["logits"], wanted)


def leaky(maker: Maker) -> Graph:
    x = maker.conv("input", 3, padding=1)
    slope = maker.tensor(torch.full((1, 1, 1, 1), 0.25))
    x = maker.emit("leaky_relu", x, slope)
    return maker.graph(maker.linear(maker.flatten(x), 4))


def clipped(maker: Maker) -> Graph:
    x = maker.emit("clip", maker.conv("input", 3, padding=1), ceiling=2.0)
    return maker.graph(maker.linear(maker.flatten(x), 4))


@pytest.mark.parametrize("build", [leaky, clipped])
def test_signed_neurons_with_slope_and_ceiling(build: Callable[[Maker], Graph]) -> None:
    graph = build(Maker(np.random.default_rng(2), (2, 5, 4)))
    net = to_spiking(graph, dyadic_plan(graph, 2), neuron="signed")
    x = images(graph, 0, 3)
    wanted = observed(net, x, STEPS)
    assert (wanted[f"spikes.{next(iter(graph.sites))}"] < 0).any() == (build is leaky)
    assert_equal(stepped(onnx_model(net, spikes=True), x.numpy(), STEPS), wanted)


def test_sequences_are_shown_a_frame_a_step() -> None:
    graph = random_graph(7)
    encoder = ENCODERS.create(f"frames:steps={STEPS}")
    net = to_spiking(graph, dyadic_plan(graph, 7), encoder=encoder)
    frames = images(graph, 7, 2 * STEPS).unflatten(0, (2, STEPS))
    wanted = simulate(net, frames, steps=STEPS).outputs[0].numpy()
    got = looped(onnx_model(net, form="loop"), frames.numpy(), STEPS)
    np.testing.assert_array_equal(got["logits"], wanted)


def several_outputs(maker: Maker) -> Graph:
    x = maker.relu(maker.conv("input", 4, padding=1))
    x = maker.flatten(x)
    return maker.graph(maker.linear(x, 3), maker.emit("softmax", maker.linear(x, 4), dim=1))


def every_op(maker: Maker) -> Graph:
    x = maker.relu(maker.batch_norm(maker.conv("input", 4, padding=1)))
    x = maker.emit("max_pool", x, kernel=[3, 2], stride=[2, 2], padding=[1, 0, 0, 1],
                   dilation=[1, 1], ceil_mode=False)  # fmt: skip
    x = maker.relu(maker.conv_transpose(x, 4))
    x = maker.emit("avg_pool", x, kernel=[3, 3], stride=[2, 2], padding=[1, 1, 1, 1],
                   ceil_mode=True, count_include_pad=False)  # fmt: skip
    x = maker.emit("sub", x, maker.relu(maker.conv(x, 4, padding=1)))
    x = maker.emit("pad", x, pads=[1, 0, 0, 1])
    x = maker.emit("slice", x, dim=2, start=1, stop=3, step=1)
    x = maker.emit("upsample", x, size=[6, 8], mode="bilinear", align_corners=False)
    x = maker.emit("upsample", x, size=[9, 12], mode="nearest")
    x = maker.emit("upsample", x, size=[5, 7], mode="bicubic", align_corners=False)
    x = maker.relu(maker.emit("scale", x, maker.tensor(maker.draw(1, 4, 1, 1) + 2)))
    x = maker.emit("adaptive_avg_pool", x, size=[2, 3])
    x = maker.emit("permute", x, dims=[0, 2, 3, 1])
    x = maker.emit("add_constant", maker.linear(x, 5), maker.tensor(maker.draw(1, 1, 1, 5)))
    x = maker.emit("mean", maker.emit("identity", x), dims=[1, 2], keepdim=False)
    return maker.graph(maker.emit("log_softmax", x, dim=1))


def one_dimensional(maker: Maker) -> Graph:
    weight = maker.tensor(maker.draw(4, 1, 3))
    x = maker.emit("conv", "input", weight, stride=[1], padding=[0, 2], dilation=[1], groups=2)
    x = maker.emit("avg_pool", maker.relu(x), kernel=[2], stride=[2], padding=[0, 0])
    return maker.graph(maker.emit("sigmoid", maker.linear(maker.flatten(x), 2)))


@pytest.mark.parametrize(
    ("build", "shape"),
    [(several_outputs, (2, 4, 4)), (every_op, (2, 7, 8)), (one_dimensional, (2, 8))],
)
@pytest.mark.parametrize("form", ["step", "loop"])
def test_every_op_is_written(
    build: Callable[[Maker], Graph], shape: tuple[int, ...], form: Form
) -> None:
    """On real numbers, in few enough steps that no sum comes near a threshold by chance."""
    graph = build(Maker(np.random.default_rng(1), shape))
    net = to_spiking(graph, dyadic_plan(graph, 1))
    x = images(graph, 3, 2)
    wanted = [output.numpy() for output in simulate(net, x, steps=4).outputs]
    model = onnx_model(net, form=form)
    got = stepped(model, x.numpy(), 4) if form == "step" else looped(model, x.numpy(), 4)
    assert len(got) == len(wanted)
    for name, value in zip(got, wanted, strict=True):
        np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=1e-4)


MSAT = ("msat", "msat:set=resnet20,dtt=false", "msat:det=false", "msat:reference=2")


@pytest.mark.parametrize("neuron", MSAT)
def test_msat_in_float64_gives_the_same_answers(neuron: str) -> None:
    graph = random_graph(3, exact=False).to(torch.float64)
    plan = Plan({n: SitePlan(torch.tensor(1.5).double(), torch.tensor(0.25).double())
                 for n in graph.sites})  # fmt: skip
    net = to_spiking(graph, plan, neuron=neuron)
    x = images(graph, 3, 2).double()
    wanted = simulate(net, x, steps=5).outputs[0].numpy()
    got = stepped(onnx_model(net), x.numpy(), 5)["logits"]
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)


def strided(maker: Maker) -> Graph:
    """Convolutions of every kind, and means with and without borders."""
    x = maker.relu(maker.conv("input", 4, padding=1, stride=2))
    weight = maker.tensor(maker.draw(4, 2, 3, 2))
    x = maker.relu(maker.emit("conv", x, weight, stride=[1, 2], padding=[2, 0, 1, 3],
                              dilation=[2, 1], groups=2))  # fmt: skip
    x = maker.emit("avg_pool", x, kernel=[3, 2], stride=[2, 1], padding=[1, 1, 1, 1],
                   ceil_mode=True, count_include_pad=False)  # fmt: skip
    x = maker.emit("adaptive_avg_pool", maker.max_pool(x), size=[1, 2])
    return maker.graph(maker.linear(maker.flatten(x), 3))


@pytest.mark.parametrize(("build", "shape"), [(strided, (2, 9, 8)), (one_dimensional, (2, 8))])
@pytest.mark.parametrize("form", ["step", "loop"])
def test_float64_gives_the_same_spikes_on_real_numbers(
    build: Callable[[Maker], Graph], shape: tuple[int, ...], form: Form
) -> None:
    graph = build(Maker(np.random.default_rng(4), shape, exact=False)).to(torch.float64)
    net = to_spiking(graph, planned(graph)).to(torch.float64)
    x = torch.from_numpy(np.random.default_rng(5).normal(size=(3, *shape)))
    wanted = observed(net, x, 5)
    model = onnx_model(net, form=form, spikes=True)
    assert {i.data_type for i in model.graph.initializer} <= {onnx.TensorProto.DOUBLE}
    got = stepped(model, x.numpy(), 5) if form == "step" else looped(model, x.numpy(), 5)
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-12, atol=1e-12, err_msg=name)
    assert any((wanted[f"spikes.{name}"] > 0).any() for name in graph.sites)


def test_what_has_no_float64_in_the_runtime_is_named() -> None:
    maker = Maker(np.random.default_rng(0), (2, 4, 4))
    graph = maker.graph(maker.relu(maker.conv_transpose("input", 4)))
    name = next(node.name for node in graph.nodes if node.op == "conv_transpose")
    net = to_spiking(graph, planned(graph))
    assert onnx_model(net)
    with pytest.raises(ExportError, match=f"layer '{name}'.*float64") as refused:
        onnx_model(net.to(torch.float64))
    assert "--precision float32" in refused.value.hint


def planned(graph: Graph, **more: torch.Tensor) -> Plan:
    one = torch.tensor(1.0)
    return Plan({name: SitePlan(one, one / 2, **more) for name in graph.sites})


def test_what_is_random_or_takes_turns_is_refused_by_name() -> None:
    graph = random_graph(0)
    first = next(iter(graph.sites))
    kept = planned(graph, confidence=torch.tensor(0.5))
    with pytest.raises(ExportError, match=f"layer '{first}'.*at random") as refused:
        onnx_model(to_spiking(graph, kept, neuron="msat"))
    assert "confidence=1" in refused.value.hint
    turned = to_spiking(graph, planned(graph, turn=torch.tensor(1.0)), neuron="tsc",
                        encoder="tsc", readout="switch")  # fmt: skip
    with pytest.raises(ExportError, match="tsc"):
        onnx_model(turned)
    poisson = to_spiking(graph, planned(graph), encoder="poisson:scale=1.0")
    with pytest.raises(ExportError, match="poisson"):
        onnx_model(poisson, form="loop")
    assert onnx_model(poisson).graph.output[0].name == "logits"
    waiting = to_spiking(graph, planned(graph), schedule="layers")
    with pytest.raises(ExportError, match="NIR") as nir:
        nir_graph(waiting)
    assert "--to onnx" in nir.value.hint
    with pytest.raises(ExportError, match="bfloat16"):
        onnx_model(to_spiking(graph, planned(graph)).to(torch.bfloat16))


def test_names_that_a_user_types_are_never_taken() -> None:
    weight = torch.eye(3)
    nodes = (
        Node("x", "input", (), {"shape": [3]}),
        Node("step", "linear", ("x", "logits"), {}),
        Node("timesteps", "relu", ("step",), {}),
        Node("next.step", "linear", ("timesteps", "timesteps.potential"), {}),
    )
    tensors = {"logits": weight, "timesteps.potential": weight}
    net = to_spiking(graph := Graph(nodes, tensors, ("next.step",)), planned(graph))
    x = torch.tensor([[0.5, 1.0, 2.0]])
    wanted = simulate(net, x, steps=3).outputs[0].numpy()
    np.testing.assert_array_equal(stepped(onnx_model(net), x.numpy(), 3)["logits"], wanted)
    loop = onnx_model(net, form="loop")
    np.testing.assert_array_equal(looped(loop, x.numpy(), 3)["logits"], wanted)


def test_nothing_is_left_half_written(tmp_path: Path) -> None:
    graph = random_graph(0)
    net = to_spiking(graph, planned(graph), neuron="msat:confidence=0.5")
    with pytest.raises(ExportError):
        save_onnx(net, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
    save_onnx(to_spiking(graph, planned(graph)), tmp_path / "a.onnx", metadata={"k": "v"})
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]
    assert onnx.load(tmp_path / "a.onnx").metadata_props[0].value == "v"
