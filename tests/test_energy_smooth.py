"""What functions and products cost: counted by hand, in both schedules, and where lines cross."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from calibrate import parse_stages
from convsnn.graph import Graph, Node
from convsnn.graph.dense import arithmetic
from convsnn.graph.ops.base import SMOOTH, Arithmetic
from convsnn.measure import evaluate
from convsnn.measure.energy import Asked, Estimate, Measured, estimate, load_constants, set_names
from convsnn.measure.energy.constants import TABLE
from convsnn.report.page.crossing import crossing, crossing_in_words
from convsnn.workflows.convert.network import convert

SETS = tuple(load_constants(name) for name in set_names())
STEPS = torch.arange(1, 5).double()


def graph() -> Graph:
    """Queries and keys from one layer, their product, softmax, a gate, GELU, and a layer."""
    draw = torch.Generator().manual_seed(0)
    sizes = {"wq": (4, 3), "wk": (4, 3), "wo": (2, 5)}
    tensors = {n: torch.randn(*s, generator=draw) for n, s in sizes.items()}
    tensors["half"] = torch.full((1, 1, 1), 0.5)
    nodes = [
        Node("x", "input", (), {"shape": [5, 3]}),
        Node("first", "relu", ("x",)),
        Node("q", "linear", ("first", "wq")), Node("k", "linear", ("first", "wk")),
        Node("turned", "permute", ("k",), {"dims": [0, 2, 1]}),
        Node("scores", "matmul", ("q", "turned")),
        Node("scaled", "scale", ("scores", "half")),
        Node("shares", "softmax_inside", ("scaled",), {"dim": 2}),
        Node("norm", "layer_norm", ("shares",), {"dims": [-1], "epsilon": 1e-5}),
        Node("gelu", "gelu", ("norm",)),
        Node("out", "linear", ("gelu", "wo")),
    ]  # fmt: skip
    return Graph(tuple(nodes), tensors, ("out",))


def priced(schedule: str) -> Estimate:
    x = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(1))
    net = convert(graph(), x[:2], [x], parse_stages("max"), steps=4, schedule=schedule)
    got = evaluate(net, [(x, None)], steps=4)
    assert got.seen is not None
    return estimate(net, Measured(got.activity, got.seen), Asked(SETS, weight_bits=8, floats=False))


def test_an_image_is_counted_by_hand() -> None:
    counts = {item: float(value) for item, value in priced("layers").counts["original"].items()}
    assert counts["products"] == 5 * 5 * 4
    # softmax and layer norm over rows of 5, and GELU, on 25 elements each
    assert counts["lookups"] == (25 + 5) + 5 + 25
    assert counts["function_multiplications"] == 25 + (2 * 25 + 2 * 5)
    assert counts["function_additions"] == 5 * 5 * 4 + 2 * 25 + (3 * 25 + 5)
    assert counts["comparisons"] == 15 + 25  # the rectifier and the search of the largest
    assert counts["values"] >= 40 + 3 * 25  # what they read


def test_layers_compute_once_and_steps_at_every_step() -> None:
    once = {name: float(v) for name, v in priced("layers").counts["original"].items()}
    layers, steps = priced("layers").counts["spiking"], priced("steps").counts["spiking"]
    for item in ("products", "lookups"):
        assert layers[item].tolist() == [once[item]] * 4
        assert steps[item].tolist() == (once[item] * STEPS).tolist()
    passed = 3 * 25 + 25 + (40 + 3 * 25)  # a difference of each result, a mean of each input
    for item in ("function_multiplications", "function_additions"):
        assert layers[item].tolist() == [once[item]] * 4
        assert steps[item].tolist() == ((once[item] + passed) * STEPS).tolist()
    sums = steps["state_accesses"] - layers["state_accesses"]
    # the operands come spike by spike in both; what functions read from each other comes once
    assert sums.tolist() == (2 * (3 * 25 + 100) * STEPS - 2 * 3 * 25).tolist()


def test_every_function_and_product_says_what_it_takes() -> None:
    shown = graph()
    for node in shown.nodes:
        work = arithmetic(shown, node)
        assert any(vars(work).values()) == (node.role in SMOOTH)


@pytest.mark.parametrize(
    ("op", "attrs", "wanted"),
    [
        ("elementary", {"kind": "abs"}, Arithmetic(comparisons=1)),
        ("elementary", {"kind": "exp"}, Arithmetic(lookups=1)),
        ("power", {"exponent": 2.0}, Arithmetic(multiplications=1)),
        ("power", {"exponent": 3.0}, Arithmetic(multiplications=2)),
        ("power", {"exponent": 0.5}, Arithmetic(lookups=1)),
        ("power", {"exponent": -1.0}, Arithmetic(lookups=1)),
        ("bound", {"low": 0.5, "high": None}, Arithmetic(comparisons=1)),
        ("bound", {"low": -1.0, "high": 1.0}, Arithmetic(comparisons=2)),
    ],
)
def test_a_value_takes_what_its_function_is(
    op: str, attrs: dict[str, Any], wanted: Arithmetic
) -> None:
    nodes = Node("x", "input", (), {"shape": [3, 2]}), Node("f", op, ("x",), attrs)
    assert arithmetic(Graph(nodes, {}, ("f",)), nodes[1]) == wanted * 6


def test_a_lookup_is_a_line_between_two_entries_unless_a_set_says_otherwise(tmp_path: Path) -> None:
    for one in SETS:
        line = one.multiply(16, 16, floats=False) + one.add(16, floats=False)
        read = 2 * 16 * one.memory_bit(TABLE * 2)
        assert one.lookup(16, floats=False) == pytest.approx(line + read)
    figure = 'joules = 1e-12\nsource = "s"\n'
    text = "".join(f"[operations.{key}]\n{figure}" for key in ("add", "multiply", "lookup"))
    (tmp_path / "own.toml").write_text(f'name = "own"\n{text}')
    assert load_constants(str(tmp_path / "own.toml")).lookup(16, floats=False) == 1e-12


@pytest.mark.parametrize(
    ("scores", "joules", "start", "both", "words"),
    [
        ([0.5, 0.91, 0.908, 0.92], [1, 2, 3, 4], 2, [2], "both hold at step 2"),
        ([0.91, 0.5, 0.5, 0.92], [1, 2, 3, 4], 4, [1], "from step 4 on"),
        ([0.5, 0.5, 0.91, 0.92], [1, 2, 3, 4], 3, [], "no scored step has both"),
        ([0.5, 0.5, 0.5, 0.5], [5, 6, 7, 8], None, [], "at no step (own)"),
    ],
)
def test_where_accuracy_and_energy_cross(
    scores: list[float], joules: list[float], start: int | None, both: list[int], words: str
) -> None:
    series = SimpleNamespace(ann=0.915, snn=torch.tensor(scores, dtype=torch.float64))
    task = SimpleNamespace(headline="accuracy")
    one = SimpleNamespace(
        constants=SimpleNamespace(name="own"), spiking=Tensor(joules),
        baselines={"original": Tensor([2.5] * 4)},
    )  # fmt: skip
    evaluation: Any = SimpleNamespace(scores={"accuracy": series}, task=task)
    found: Any = SimpleNamespace(at=[1, 2, 3, 4], sets=[one])
    section = crossing(evaluation, found)
    assert section is not None
    assert (section["from"], section["both"]["own"]) == (start, both)
    assert words in crossing_in_words({"crossing": section}, "accuracy")
    assert crossing(SimpleNamespace(scores={}, task=task), found) is None  # type: ignore[arg-type]
