"""Recipes: what they may say, and the network that each makes of a zoo model."""

from dataclasses import replace
from math import tanh
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convsnn.errors import CalibrationError, ConfigError, LoadError, UnsupportedError
from convsnn.export import load_artifact, save_artifact
from convsnn.graph import Graph, run
from convsnn.load import load_module
from convsnn.neurons import NEURONS
from convsnn.simulate import simulate
from convsnn.train.direct import DROPOUT, READ, Form, groups, lateral_kernels, prepare, scores
from convsnn.train.lif import LIF
from convsnn.train.sawb import Sawb
from zoo.models import MODELS
from zoo.recipes.spiking import RECIPES, SpikingRecipe, find_recipe, parsed


class Neighbours(nn.Module):
    """A lateral layer as the zoo's networks write it."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Conv1d(1, 1, 5, padding=2, bias=False)

    def forward(self, current: Tensor) -> Tensor:
        return current + self.kernel(current.unsqueeze(1)).squeeze(1)


class Small(nn.Module):
    """One convolution and two fully connected layers for (B, 1, 6, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.pool = nn.AvgPool2d(2)
        self.fc1, self.near1 = nn.Linear(36, 12), Neighbours()
        self.relu = nn.ReLU()
        self.fc2, self.near2 = nn.Linear(12, 3), Neighbours()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.norm(self.conv(x)))).flatten(1)
        return self.near2(self.fc2(self.relu(self.near1(self.fc1(x)))))


def small() -> Graph:
    torch.manual_seed(0)
    return load_module(Small().eval(), torch.zeros(2, 1, 6, 6))


PAPERS = ("LTMD, ", "LT-SNN, ", "Rouser, ", "Threshold annealing, ")
PAPER = Form(threshold="ltmd", outputs="potential", lateral="recurrent", decay=0.25)


def test_lateral_layers_are_found_with_their_kernels() -> None:
    graph = small()
    found = lateral_kernels(graph)
    assert list(found) == ["near1.add", "near2.add"]
    assert torch.equal(found["near2.add"], graph.tensors["near2.kernel.weight"])


def test_the_paper_s_form_follows_equations_9_and_10_step_by_step() -> None:
    graph = small()
    network = prepare(graph, PAPER).network.eval()
    assert list(network.graph.sites)[-1] == READ
    x = torch.randn(5, 1, 6, 6)
    with torch.no_grad():
        got = network(x, steps=4)
    t, m = graph.tensors, tanh(0.5)
    module = Small().eval()
    module.load_state_dict({name: t[name] for name in module.state_dict() if name in t}, False)
    near = [
        lambda v, n=n: n.kernel(v.unsqueeze(1)).squeeze(1) for n in (module.near1, module.near2)
    ]
    state = [torch.zeros(5, 4, 6, 6), torch.zeros(5, 12), torch.zeros(5, 3)]
    sent = [torch.zeros_like(u) for u in state]

    def kept(u: Tensor) -> Tensor:
        return 0.25 * u * (u < m)

    with torch.no_grad():
        for step in range(4):
            state[0] = kept(state[0]) + module.norm(module.conv(x))
            pooled = module.pool((state[0] >= m).float()).flatten(1)
            state[1] = kept(state[1]) + module.fc1(pooled) + near[0](sent[1])
            state[2] = kept(state[2]) + module.fc2(state[1]) + near[1](sent[2])
            sent = list(state)
            assert torch.allclose(got[step], state[2], atol=1e-5)


def test_spikes_and_feedforward_input_make_a_network_that_simulates_the_same() -> None:
    made = prepare(small(), Form(threshold="lt-snn:initial=0.5", lateral="feedforward"))
    made.network.train()
    made.network(torch.randn(40, 1, 6, 6), steps=3)  # statistics of batch norm that are not 0 and 1
    made.network.eval()
    net = made.to_spiking()
    assert net.neuron == "lif:decay=0.5,reset=zero,sends=one"
    assert not [node for node in net.graph.nodes if node.op == "batch_norm"]
    x = torch.randn(50, 1, 6, 6)
    with torch.no_grad():
        wanted = made.network.predict(made.network(x, steps=5))
    got = simulate(net, x, steps=5).outputs[0]
    assert float((got.argmax(2) == wanted.argmax(2)).double().mean()) >= 0.99


@pytest.mark.parametrize("lateral", ["recurrent", "feedforward", "none"])
@pytest.mark.parametrize("outputs", ["potential", "gated", "spike"])
def test_rows_simulate_and_are_saved_as_they_were_trained(
    outputs: Any, lateral: Any, tmp_path: Path
) -> None:
    made = prepare(small(), replace(PAPER, outputs=outputs, lateral=lateral, reset="zero"))
    made.network.train()(torch.randn(40, 1, 6, 6), steps=3)
    made.network.eval()
    net = made.to_spiking()
    x = torch.randn(30, 1, 6, 6)
    with torch.no_grad():
        wanted = made.network.predict(made.network(x, steps=5))
    got = simulate(net, x, steps=5).outputs[0]
    assert torch.allclose(got, wanted, atol=1e-5)
    assert torch.allclose(simulate(net, x, steps=5, chunk=2).outputs[0], got, atol=1e-5)
    save_artifact(net, tmp_path / "net.safetensors")
    again = load_artifact(tmp_path / "net.safetensors")
    assert torch.equal(simulate(again, x, steps=5).outputs[0], got)
    heard = [name for name, planned in again.plan.sites.items() if planned.lateral is not None]
    graded = [name for name, neurons in again.neurons.items() if neurons.graded]
    assert (len(heard) > 0) == (lateral == "recurrent")
    assert (len(graded) == 2) == (outputs != "spike")
    plain = made.graph.outputs[0]
    ann = run(net.graph, x, keep=[plain])
    assert torch.equal(ann[net.graph.outputs[0]], ann[plain])  # what is read changes no ANN


def test_a_row_hears_its_neighbours_a_step_late() -> None:
    """The worked trace of LTMD's equations 9 and 10: three neurons, two steps."""
    kernel, currents = torch.tensor([0.1, 0.0, 0.1]), torch.tensor([[[0.5, 0.2, 0.1]]] * 2)
    currents[1] = torch.tensor([0.1, 0.3, 0.2])
    row = NEURONS.create("ltmd:decay=0.25", threshold=tanh(0.5), lateral=kernel, row=True)
    sent, state = row.scan(currents)
    assert torch.allclose(sent[0, 0], torch.tensor([0.5, 0.2, 0.1]))
    assert torch.allclose(sent[1, 0], torch.tensor([0.12, 0.41, 0.245]))
    first, carry = row.scan(currents[:1])
    second, last = row.scan(currents[1:], carry)
    assert torch.equal(torch.cat([first, second]), sent)
    assert torch.equal(last.potential, state.potential)
    with pytest.raises(ConfigError, match="kernel with a middle"):
        NEURONS.create("ltmd", threshold=1.0, lateral=kernel[:2], row=True)


def test_what_no_simulation_has_is_refused_with_what_to_change() -> None:
    odd = prepare(small(), PAPER)
    odd.network.site("relu").output = "potential"  # of an image
    with pytest.raises(UnsupportedError, match="no simulation has such neurons") as caught:
        odd.to_spiking()
    assert "all others spikes" in caught.value.hint
    negative = prepare(small(), Form(threshold="lt-snn:initial=-0.1"))
    with pytest.raises(CalibrationError):
        negative.to_spiking()


def test_moderate_dropout_doubles_the_batch_in_training_only() -> None:
    form = replace(PAPER, dropout="moderate", drop_behind="relu")
    made = prepare(small(), form)
    assert DROPOUT in made.network.graph.sites
    assert DROPOUT not in made.graph.by_name
    x = torch.randn(6, 1, 6, 6)
    assert made.network.train()(x, steps=2).shape == (2, 12, 3)
    assert made.network.eval()(x, steps=2).shape == (2, 6, 3)


def test_plain_dropout_can_stand_where_no_neurons_are() -> None:
    made = prepare(small(), Form(dropout="plain", p_drop=0.5, drop_behind="fc1"))
    x = torch.randn(6, 1, 6, 6)
    network = made.network.eval()
    assert torch.equal(network(x, steps=2), network(x, steps=2))
    with pytest.raises(ConfigError, match="no layer 'fc11'") as caught:
        prepare(small(), Form(dropout="plain", drop_behind="fc11"))
    assert "fc1" in caught.value.hint


def test_lateral_input_needs_lateral_layers() -> None:
    plain = prepare(small(), Form(lateral="none")).graph
    assert not lateral_kernels(plain)
    with pytest.raises(ConfigError, match="no lateral layers"):
        prepare(plain, Form(lateral="recurrent"))


def test_rounded_weights_learn_and_are_kept_in_full_by_a_checkpoint() -> None:
    made = prepare(small(), Form(threshold="lt-snn:initial=0.1", weight_bits=4))
    network = made.network
    weight = network.tensors()["conv.weight"]
    assert torch.equal(weight, Sawb(4)(small().tensors["conv.weight"]))
    assert len(weight.unique()) <= 15
    assert (
        len([m for m in network.modules() if isinstance(m, parametrize.ParametrizationList)]) == 3
    )
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    other = prepare(small(), Form(threshold="lt-snn:initial=0.1", weight_bits=4)).network
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    other.load_state_dict(state)
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    network(torch.randn(4, 1, 6, 6), steps=2).square().sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for n, p in network.named_parameters() if "orig" in n)
    assert made.to_spiking().neuron.startswith("lif")


def test_thresholds_learn_at_a_rate_of_their_own() -> None:
    network = prepare(small(), Form()).network
    weights, thresholds = groups(network, threshold_rate=0.01)
    assert thresholds["scale"] == 0.01
    assert len(thresholds["params"]) == 2
    assert len(weights["params"]) + 2 == len(list(network.parameters()))
    assert len(groups(prepare(small(), Form(threshold="fixed")).network, threshold_rate=1)) == 1


def test_accuracy_counts_the_mean_up_to_each_step() -> None:
    made = prepare(small(), Form(threshold="lt-snn:initial=0.3"))
    x = torch.randn(20, 1, 6, 6)
    network = made.network.eval()
    with torch.no_grad():
        logits = network(x, steps=3)
    labels = logits.mean(0).argmax(1)
    found = scores(network, [(x[:7], labels[:7]), (x[7:], labels[7:])], steps=3)
    first = float((logits[0].argmax(1) == labels).double().mean())
    assert found == [pytest.approx(first), found[1], 1.0]


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_says_what_it_is_a_row_of(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.source.startswith(PAPERS)
    assert ("short" in name) == (recipe.data is not None)
    assert SpikingRecipe(**recipe.to_json()) == recipe


def test_no_two_recipes_are_described_alike() -> None:
    sources = [recipe.source for recipe in RECIPES.values()]
    assert len(set(sources)) == len(sources)


def short_names() -> list[str]:
    """One recipe for each model and form of those that are small."""
    known = {}
    for name, recipe in RECIPES.items():
        if recipe.model in ("ltmd-mnist", "lt-snn-resnet19-cifar10"):
            form = (recipe.model, recipe.outputs, recipe.lateral, recipe.dropout)
            known.setdefault(form, name)
    return list(known.values())


@pytest.mark.parametrize("name", short_names())
def test_a_recipe_fits_its_model(name: str) -> None:
    recipe = RECIPES[name]
    entry = MODELS.create(recipe.model)
    graph = load_module(entry.module(weights=False), torch.zeros(2, *entry.input_shape))
    network = prepare(graph, recipe).network
    rules = [site.threshold for site in network.sites if isinstance(site, LIF)]
    learned = sum(p.numel() for rule in rules for p in rule.parameters())
    whole = recipe.outputs != "spike"
    if not recipe.threshold.startswith("fixed"):
        assert learned == len(rules)
    if whole and recipe.lateral != "none":
        assert len(rules) == entry.thresholds  # those the paper counts


def test_values_are_read_as_toml_has_them() -> None:
    given = [
        "epochs=3",
        "learning_rate=1",
        "threshold=ltmd:k=0.1",
        "detach_reset=true",
        "data=none",
    ]
    recipe = RECIPES["ltmd-mnist"].override(parsed(given))
    assert (recipe.epochs, recipe.learning_rate, recipe.detach_reset) == (3, 1.0, True)
    assert (recipe.threshold, recipe.data) == ("ltmd:k=0.1", None)


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ("epoch=3", "no key 'epoch'", "epochs"),
        ("epochs=many", "epochs is a whole number, not 'many'", ""),
        ("epochs=1.5", "epochs is a whole number, not 1.5", ""),
        ("epochs=true", "epochs is a whole number, not True", ""),
        ("timesteps=0", "timesteps must be at least 1, not 0", ""),
        ("decay=2", "decay of 2", "between 0 and 1"),
        ("lateral=recurent", "lateral is none or recurrent or feedforward", "recurrent"),
        ("threshold=ltdm", "unknown threshold 'ltdm'", "ltmd"),
        ("loss=tet:beta=2", "beta lies between 0 and 1", ""),
        ("model=ltmd-mnits", "unknown zoo model", "ltmd-mnist"),
        ("weight_bits=3", "no weights of 3 bits", "1, 4 or 8"),
        ("p_drop=1.0", "dropout probability", "below 1"),
        ("learning_rate=nan", "positive learning_rate", ""),
        ("training_samples=1", "at least 2", ""),
        ("epochs", "not KEY=VALUE", "--set epochs=3"),
        ("drop_behind=''", "needs a place", "drop_behind"),
    ],
)
def test_impossible_values_are_refused(given: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")) as caught:
        RECIPES["ltmd-mnist"].override(parsed([given]))
    assert hint in caught.value.hint


def test_a_file_holds_a_recipe_or_what_differs_from_one(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('base = "ltmd-mnist"\nepochs = 2\n')
    assert find_recipe(str(own)) == replace(RECIPES["ltmd-mnist"], epochs=2)
    whole = tmp_path / "whole.json"
    whole.write_text('{"model": "ltmd-mnist", "timesteps": 2, "data": null}')
    assert find_recipe(str(whole)) == SpikingRecipe(model="ltmd-mnist", timesteps=2)


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("a.toml", "epochs = ", LoadError, "no TOML file"),
        ("a.json", "{", LoadError, "no JSON file"),
        ("a.json", "[1]", ConfigError, "no keys and values"),
        ("a.toml", "epochs = 3", ConfigError, "names no model"),
        ("a.toml", 'base = "ltmd"', ConfigError, "unknown base 'ltmd'"),
        ("a.toml", 'base = ["x"]', ConfigError, "unknown base"),
        ("a.toml", 'base = "ltmd-mnist"\nepoch = 1', ConfigError, "a.toml'.*no key 'epoch'"),
        ("a.toml", 'model = "ltmd-mnist"\nepochs = [1]', ConfigError, "whole number"),
        ("a.toml", None, LoadError, "cannot be read"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(
    tmp_path: Path, name: str, text: str | None, error: type[Exception], message: str
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=message):
        find_recipe(str(path))


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        find_recipe("ltmd-mnits")
    assert "ltmd-mnist" in caught.value.hint
