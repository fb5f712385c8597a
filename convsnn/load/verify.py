"""Proof that an imported graph is the network it was read from: same outputs on the same input."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from convsnn.errors import RewriteError
from convsnn.graph import Graph, run
from convsnn.passes import relative_gap, tolerance

Reference = Callable[[Tensor], Sequence[Tensor]]


def module_reference(module: nn.Module) -> Reference:
    """Runs the module itself in eval mode; outputs in the order torch flattens them."""

    def reference(x: Tensor) -> Sequence[Tensor]:
        parameter = next((p for p in module.parameters() if p.is_floating_point()), x)
        was_training = module.training
        try:
            with torch.no_grad():
                out = module.eval()(x.to(device=parameter.device, dtype=parameter.dtype))
        finally:
            module.train(was_training)
        leaves = torch.utils._pytree.tree_leaves(out)
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

    return reference


def gaps(graph: Graph, reference: Reference, example: Tensor) -> dict[str, float]:
    """For each output the largest difference to the original's, relative to its scale."""
    wanted = reference(example)
    with torch.no_grad():
        got = run(graph, example)
    return {
        name: relative_gap(got[name].float(), value.float().to(got[name].device))
        for name, value in zip(graph.outputs, wanted, strict=True)
    }


def verify_import(graph: Graph, reference: Reference, example: Tensor) -> None:
    """Raise RewriteError where an output differs by more than rounding explains: 1e-4 of its
    scale, and more only where the network has steps (`passes.tolerance`)."""
    allowed = tolerance(graph, example)
    for name, gap in gaps(graph, reference, example).items():
        if not gap <= allowed:
            raise RewriteError(
                f"the imported network is not the original: output '{name}' is off by {gap:.2e} "
                f"of its scale (at most {allowed:.0e} is allowed)",
                hint="this is a fault of convsnn; please report it with the network",
            )
