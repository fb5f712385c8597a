"""Modules as users write and wrap them: the network inside enters, nothing around it changes."""

import contextlib
import io
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from convsnn.errors import ConfigError, ConvsnnError, LoadError, RewriteError, UnsupportedError
from convsnn.graph import Graph
from convsnn.load import load_module, load_weights
from convsnn.load.verify import gaps, module_reference, verify_import
from convsnn.passes.outputs import outputs_of


def example(*shape: int, batch: int = 3) -> Tensor:
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(1))


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


def entered(module: nn.Module, *shape: int, output: str | None = None) -> Graph:
    """The module as a graph that answers as the module does; the caller's example stays."""
    x = example(*shape)
    before = x.clone()
    graph = load_module(module, x, output=output)
    graph.require_convertible()
    verify_import(graph, module_reference(module), x)
    assert torch.equal(x, before)
    return graph


class Net(nn.Module):
    """Two layers; `before` and `after` are what a test puts around them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.f, self.g = nn.Linear(4, 6), nn.Linear(6, 3)
        self.register_buffer("seen", torch.zeros(1))

    def scores(self, x: Tensor) -> Tensor:
        return self.g(torch.relu(self.f(x)))


class InPlace(Net):
    def forward(self, x: Tensor) -> Tensor:
        x -= 0.5
        x *= 2.0
        return self.scores(x)


class Counts(Net):
    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        return self.scores(x)


class Observes(Net):
    def forward(self, x: Tensor) -> Tensor:
        self.seen = torch.maximum(self.seen, x.abs().max())
        return self.scores(x)


class Star(Net):
    def forward(self, *inputs: Tensor) -> Tensor:
        return self.scores(inputs[0])


class Talks(Net):
    def forward(self, x: Tensor) -> Tensor:
        print("rows", x.shape[0])
        return self.scores(x)


@pytest.mark.parametrize("kind", [InPlace, Counts, Observes, Star])
def test_only_what_the_forward_method_returns_is_an_answer(kind: type[Net]) -> None:
    module = kind().eval()
    graph = entered(module, 4)
    assert graph.outputs == ("g",)
    assert float(module.seen) == 0.0


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, torch.compile, AveragedModel, lambda m: nn.DataParallel(AveragedModel(m))],
)
def test_a_wrapper_is_looked_through(wrap: object) -> None:
    module = wrap(small())  # type: ignore[operator]
    module.train()
    graph = entered(module, 4)
    assert [node.name for node in graph.nodes] == [n.name for n in entered(small(), 4).nodes]
    assert module.training


def test_a_wrapper_inside_is_taken_off_and_put_back() -> None:
    inner = torch.compile(small())
    module = nn.Sequential(nn.Flatten(), inner)
    entered(module, 2, 2)
    assert module[1] is inner


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_originals_type_counts(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )
    module = module.eval().to(dtype)
    graph = entered(module, 1, 6, 6)
    assert all(value.dtype == torch.float32 for value in graph.tensors.values())
    module[4].weight.data[0] *= 1.5  # another network is noticed in every type
    with pytest.raises(RewriteError, match="not the original"):
        verify_import(graph, module_reference(module), example(1, 6, 6))


class Many(Net):
    """Several outputs, in the ways people return them."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> object:
        h = torch.relu(self.f(x))
        y = self.g(h)
        return {
            "tuple": (h, y),
            "dict": {"features": h, "logits": y, "none": None},
            "twice": (y, y),
            "constant": (y, torch.ones(3)),
            "input": (x, y),
            "labels": y.softmax(1).argmax(1),
            "kept": y.argmax(1, keepdim=True),
            "index": torch.max(y, 1)[1],
            "both": (y, y.argmax(1)),
            "above": y.sigmoid() > 0.5,
            "whole": (y > 0).long(),
        }[self.how]


OUTPUTS = {
    "tuple": ("output.0", "output.1"),
    "dict": ("features", "logits"),
    "twice": ("output.0",),
    "constant": ("output.0",),
    "input": ("output.1",),
    "labels": ("softmax.scores",),
    "kept": ("g.scores",),
    "index": ("g.scores",),
    "both": ("output.0",),
    "above": ("sigmoid.scores",),
    "whole": ("g.scores",),
}


@pytest.mark.parametrize("how", OUTPUTS)
def test_outputs_have_the_users_names_and_decisions_are_cut_off(how: str) -> None:
    module = Many(how).eval()
    assert entered(module, 4).outputs == OUTPUTS[how]
    notes: list[str] = []
    load_module(module, example(4), note=notes.append)
    assert bool(notes) == (how not in ("tuple", "dict"))


@pytest.mark.parametrize(
    ("how", "output", "layer"),
    [
        ("tuple", "1", "g"),
        ("tuple", "relu", "relu"),
        ("dict", "logits", "g"),
        ("dict", "0", "relu"),
    ],
)
def test_one_of_several_outputs_is_chosen(how: str, output: str, layer: str) -> None:
    graph = load_module(Many(how).eval(), example(4), output=output)
    assert [found.layer for found in outputs_of(graph)] == [layer]
    assert max(gaps(graph, module_reference(Many(how)), example(4)).values()) < 1e-5


@pytest.mark.parametrize(
    ("how", "output", "said"),
    [
        ("dict", "logit", "no output 'logit'"),
        ("constant", "1", "output '1' does not depend on the input"),
    ],
)
def test_an_output_that_is_not_there_is_refused(how: str, output: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        load_module(Many(how).eval(), example(4), output=output)
    assert error.value.hint


def test_wrong_labels_are_noticed() -> None:
    graph = load_module(Many("labels").eval(), example(4))
    other = Many("labels").eval()
    other.g.weight.data.neg_()
    with pytest.raises(RewriteError, match="not the original"):
        verify_import(graph, module_reference(other), example(4))


class Flat(nn.Module):
    """Ways to flatten, some of which tie the batch size down."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.how, self.c, self.f = how, nn.Conv2d(1, 2, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.c(x))
        if self.how == "int":
            x = x.view(int(x.size(0)), -1)
        elif self.how == "loop":
            x = torch.stack([x[i].flatten() for i in range(x.shape[0])])
        elif self.how == "fixed":
            x = x.view(32, -1)
        elif self.how == "values":
            x = x.flatten(1) if x.sum() > 0 else x.flatten(1) * 2
        return self.f(x.flatten(1))


def test_a_batch_size_taken_as_a_number_is_freed() -> None:
    graph = entered(Flat("int").eval(), 1, 4, 4)
    for batch in (1, 2, 11, 13):
        found = gaps(graph, module_reference(Flat("int")), example(1, 4, 4, batch=batch))
        assert max(found.values()) < 1e-5


FOREIGN = ("s0", "s77", "u0", "SymInt", "guard", "FakeTensor", "dynamo", "aten.")


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Flat("loop"), r"fixes its batch size.* at test_torch_wrappers\.py:\d+"),
        (Flat("fixed"), r"fixes its batch size.*a batch of 32, and not on one of 3"),
        (Flat("values"), r"at test_torch_wrappers\.py:\d+: which way it takes depends"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(9, 2), nn.ReLU()),
            r"input of .*layer '1' \(Linear\)",
        ),
    ],
)
def test_what_cannot_be_traced_is_said_in_the_users_words(
    module: nn.Module, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnsupportedError, match=said) as error:
        load_module(module, example(1, 4, 4))
    assert error.value.hint
    captured = capfd.readouterr()
    heard = f"{error.value} {error.value.hint} {captured.out} {captured.err}"
    assert not [word for word in FOREIGN if word in heard]


def test_what_user_code_prints_does_not_reach_stdout() -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        entered(Talks().eval(), 4)
    assert out.getvalue() == ""
    assert set(err.getvalue().splitlines()) == {"rows 3"}


def test_lazy_layers_need_their_weights(tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(2)).eval()

    with pytest.raises(LoadError, match=r"2 layer\(s\).*'1' \(LazyLinear\)") as error:
        load_module(build(), example(2, 2))
    assert "--weights" in error.value.hint
    trained, path = build(), tmp_path / "w.pt"
    trained(example(2, 2))
    torch.save(trained.state_dict(), path)
    module = build()
    load_weights(module, path)
    entered(module, 2, 2)
    assert torch.equal(module(example(2, 2)), trained(example(2, 2)))


PREFIXES = {
    "model.": "'model.'",
    "net.": "'net.'",
    "model._orig_mod.": "'_orig_mod.' and 'model.'",
    "module.model.": "'module.' and 'model.'",
}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_of_checkpoints_are_taken_off_and_named(prefix: str, tmp_path: Path) -> None:
    state, path = small().state_dict(), tmp_path / "w.pt"
    torch.save({f"{prefix}{name}": value for name, value in state.items()}, path)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    notes: list[str] = []
    load_weights(module, path, note=notes.append)
    assert torch.equal(module(example(4)), small()(example(4)))
    assert notes == [f"took {PREFIXES[prefix]} off the names in '{path}'"]


@pytest.mark.parametrize("wrap", [AveragedModel, lambda m: nn.Sequential(nn.DataParallel(m))])
def test_weights_of_wrapped_networks_fit_plain_ones(wrap: object, tmp_path: Path) -> None:
    wrapped, path = wrap(small()), tmp_path / "w.pt"  # type: ignore[operator]
    torch.save(wrapped.state_dict(), path)
    plain = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    module = nn.Sequential(plain) if isinstance(wrapped, nn.Sequential) else plain
    notes: list[str] = []
    load_weights(module, path, note=notes.append)
    assert torch.equal(module(example(4)), small()(example(4)))
    assert len(notes) == 1


def test_a_program_of_torchscript_is_refused_by_name() -> None:
    with pytest.raises(ConvsnnError, match="TorchScript"):
        load_module(torch.jit.trace(small(), example(4)), example(4))
