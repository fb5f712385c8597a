"""Networks against chips: every limit by itself, and tables of one's own."""

import io
from pathlib import Path

import pytest
from conftest import dyadic_plan, random_graph
from rich.console import Console

from convsnn.errors import ConfigError, LoadError
from convsnn.measure.chip_fit import REMEDIES, fit_chip
from convsnn.measure.chip_table import LIMITS, Chip, Figure, chip_names, load_chip
from convsnn.spiking.network import Spiking, to_spiking
from convsnn.workflows.fit.chip import fit


def network(seed: int = 1) -> Spiking:
    graph = random_graph(seed)
    return to_spiking(graph, dyadic_plan(graph, seed))


@pytest.mark.parametrize("name", chip_names())
def test_every_table_is_whole(name: str) -> None:
    chip = load_chip(name)
    assert chip.limits
    assert all(figure.source for figure in (*chip.limits.values(), *chip.energy.values()))
    assert {"loihi2", "speck", "spinnaker2", "xylo"} <= set(chip_names())


@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_holds_at_what_is_needed_and_fails_below(limit: str) -> None:
    net = network()

    def finding(most: float) -> tuple[bool, float]:
        chip = Chip("test", "", {limit: Figure(most, "here", True)}, {})
        (found,) = fit_chip(net, chip, weight_bits=8)
        assert found.fits or found.remedy
        return found.fits, float(found.needed)

    _, needed = finding(1e12)
    assert needed > 0
    assert finding(needed)[0]
    assert not finding(needed * 0.99)[0]
    assert limit in REMEDIES


def test_sizes_are_those_counted_by_hand() -> None:
    net = network()
    chip = Chip("test", "", {k: Figure(1e12, "s", True) for k in LIMITS}, {})
    found = {f.limit: f.needed for f in fit_chip(net, chip, weight_bits=8)}
    graph = net.graph
    assert found["neurons"] == graph.neurons
    assert found["layers"] == sum(n.op in ("conv", "linear") for n in graph.nodes)
    assert found["outputs"] == 3
    assert found["weights_per_layer"] == max(
        graph.weight(n).numel() for n in graph.nodes if n.op in ("conv", "linear")
    )


def test_kinds_pools_and_input() -> None:
    chip = Chip("test", "", {}, {}, spikes_only=True, neurons=["if"], pools=[])
    found = {f.limit: f.fits for f in fit_chip(network(), chip)}
    assert found["neuron"]
    assert not found["input"]
    graph = random_graph(1)
    signed = to_spiking(graph, dyadic_plan(graph, 1), neuron="signed")
    assert not {f.limit: f.fits for f in fit_chip(signed, chip)}["neuron"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("about = 'x'", "does not name"),
        ("name = 'x'\nneuron = ['if']", "neuron"),
        ("name = 'x'\n[limits.cores]\nmost = 3\nsource = 's'", "cores"),
        ("name = 'x'\n[limits.layers]\nmost = -3\nsource = 's'", "layers"),
        ("name = 'x'\n[limits.layers]\nmost = 3", "no source"),
        ("name = 'x'\nneurons = [1]", "neurons"),
        ("name = ", "no TOML"),
    ],
)
def test_tables_that_describe_no_chip_are_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(LoadError, match=said):
        load_chip(str(path))


def test_figures_that_nobody_confirmed_say_so_wherever_they_count(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    unsure = "source = 's'\nconfirmed = false"
    path.write_text(
        f"name = 'Mine'\n[limits.layers]\nmost = 9\n{unsure}\n[limits.kernel]\nmost = 9\n"
        f"source = 'data sheet'\n[energy.synaptic_operation]\njoules = 1e-12\n{unsure}\n"
        "[energy.neuron_update]\njoules = 1e-12\nsource = 'data sheet'"
    )
    counted = {"timesteps": 2, "layers": [], "sources": []}
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(fit(network(), str(path), report=counted).render(width=200))
    lines = {line.split(" ")[0]: line for line in console.export_text().splitlines() if line}
    assert "not confirmed" in lines["layers"]
    assert "not confirmed" not in lines["kernel"]
    assert "not confirmed" in lines["estimate,"]


def test_the_command_that_counts_spikes_names_the_network(monkeypatch) -> None:
    monkeypatch.setattr("convsnn.workflows.fit.chip.load_saved", lambda _: network())
    for net, name in (("my net.safetensors", "'my net.safetensors'"), (network(), "ARTIFACT")):
        console = Console(width=400, record=True, file=io.StringIO())
        console.print(fit(net, "loihi2").render(width=400))
        assert f"convsnn evaluate {name} -o DIR" in console.export_text()


def test_a_chip_of_ones_own_and_unknown_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("name = 'Mine'\n[limits.layers]\nmost = 3\nsource = 'data sheet'")
    assert load_chip(str(path)).limits["layers"].value == 3
    with pytest.raises(ConfigError) as refused:
        load_chip("loihi")
    assert "loihi2" in refused.value.hint
