"""Proof that an imported graph is the network it was read from: same outputs on the same input."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convsnn.errors import RewriteError
from convsnn.graph import Graph, run
from convsnn.load.wrappers import float_type, own_copy, unwrapped
from convsnn.passes import relative_gap, tolerance
from convsnn.passes.outputs import decided, outputs_of

Reference = Callable[[Tensor], Sequence[Tensor]]
_ROUNDING = 4  # how much more than a graph's own rounding in a type is explained by that type


@dataclass(frozen=True)
class ModuleReference:
    """Runs a module itself in eval mode; outputs in the order torch flattens them.

    The module computes on copies: neither its buffers nor what it is given change. `dtype` is the
    type it computes in.
    """

    module: nn.Module

    @property
    def dtype(self) -> torch.dtype:
        """The type of the module's parameters; float32 where it has none."""
        return float_type(self.module)

    def __call__(self, x: Tensor) -> Sequence[Tensor]:
        """All tensors that the module gives for `x` (B, *input shape)."""
        with unwrapped(self.module) as module, own_copy(module) as call, torch.no_grad():
            out = call(x)
        leaves = torch.utils._pytree.tree_leaves(out)
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def module_reference(module: nn.Module) -> Reference:
    """Runs the module itself in eval mode; outputs in the order torch flattens them."""
    return ModuleReference(module)


def type_of(reference: Reference) -> torch.dtype:
    """The float type that the original computes in: its own `dtype`, float32 where it has none."""
    return getattr(reference, "dtype", torch.float32)


def gaps(graph: Graph, reference: Reference, example: Tensor) -> dict[str, float]:
    """For each output the largest difference to the original's, relative to its scale.

    The graph is shown what the original is shown: `example` rounded to the original's type.
    """
    wanted = reference(example)
    with torch.no_grad():
        got = run(graph, as_seen(reference, example))
    found = {}
    for output in outputs_of(graph):
        value = got[output.name].float()
        if output.place >= len(wanted):
            found[output.name] = float("inf")
            continue
        original = wanted[output.place].to(value.device).float()
        labels = "labels" in graph.by_name[output.name].attrs
        gap = _gap_of_labels if labels else None
        found[output.name] = (
            gap(graph, output.name, value, original) if gap else relative_gap(value, original)
        )
    return found


def as_seen(reference: Reference, example: Tensor) -> Tensor:
    """`example` rounded as the original rounds its input, in its former type."""
    return example.to(type_of(reference)).to(example.dtype)


def _gap_of_labels(graph: Graph, name: str, scores: Tensor, labels: Tensor) -> float:
    """How far the scores are from giving the original's labels, relative to their scale.

    For a choice of the largest that is how much the graph's largest score lies above that of the
    original's choice; for other decisions the fraction of labels that differ.
    """
    node = graph.by_name[name]
    made = decided(node, scores)
    if made.numel() != labels.numel():
        return float("inf")
    labels = labels.reshape(made.shape)
    op, attrs = node.attrs["labels"]
    if op != "argmax":
        return float((made != labels).double().mean())
    dim, keep = attrs["dim"], attrs.get("keepdim", False)
    index = (labels if keep else labels.unsqueeze(dim)).long()
    if not bool(((index >= 0) & (index < scores.shape[dim])).all()):
        return float("inf")
    lost = scores.amax(dim, keepdim=True) - scores.gather(dim, index)
    scale = float(scores.abs().max())
    return float(lost.max()) / scale if scale > 0 else float(lost.max())


def allowed_gap(graph: Graph, reference: Reference, example: Tensor, gap: float) -> float:
    """The largest relative gap that rounding explains where `gap` was found: `passes.tolerance`,
    and for an original of a coarser type what its rounding does to this network, four times."""
    seen, dtype = as_seen(reference, example), type_of(reference)
    allowed = tolerance(graph, seen, gap)
    if torch.finfo(dtype).eps <= torch.finfo(torch.float32).eps:
        return allowed
    with torch.no_grad():
        wanted = run(graph, seen)
        rounded = run(graph.to(dtype), seen.to(dtype))
    own = max(relative_gap(rounded[k].float(), wanted[k].float()) for k in graph.outputs)
    return max(allowed, _ROUNDING * max(own, torch.finfo(dtype).eps))


def verify_import(graph: Graph, reference: Reference, example: Tensor) -> None:
    """Raise RewriteError where an output differs by more than rounding explains: 1e-4 of its
    scale, and more where the network has steps, a coarser type, or enlarges its own rounding."""
    found = gaps(graph, reference, example)
    allowed = allowed_gap(graph, reference, example, max(found.values()))
    for name, gap in found.items():
        if not gap <= allowed:
            raise RewriteError(
                f"the imported network is not the original: output '{name}' is off by {gap:.2e} "
                f"of its scale (at most {allowed:.0e} is allowed)",
                hint="this is a fault of convsnn; please report it with the network",
            )
