"""Every engine that can be measured, by the name it has in a result."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from convsnn.neurons.fused import compiler
from convsnn.simulate import PRECISIONS, Engine, Precision, Program, simulate
from convsnn.spiking.network import Spiking
from convsnn.workflows.bench.peers import sinabs, spikingjelly
from convsnn.workflows.bench.peers.base import Contender, Run

OURS = ("convsnn", "convsnn counting")
PEERS: Mapping[str, tuple[str, ...]] = {
    "spikingjelly": ("spikingjelly", "spikingjelly_tuned"),
    "sinabs": ("sinabs",),
}


def _ours(net: Spiking, x: Tensor, *, counted: bool) -> list[Contender]:
    mode = "fused" if compiler() is None else "not compiled"
    if net.schedule == "layers":
        mode = "layers"  # one pass of each layer, nothing to compile

    def maker(precision: Precision) -> Callable[[], Run]:
        def prepare() -> Run:
            program = Program(net, Engine(precision, fused=True))
            return lambda steps: simulate(program, x, steps=steps, count=counted).outputs[0][-1]

        return prepare

    return [Contender(mode, precision, maker(precision)) for precision in PRECISIONS]


ENGINES: Mapping[str, Callable[[Spiking, Tensor], Sequence[Contender]]] = {
    "convsnn": lambda net, x: _ours(net, x, counted=False),
    "convsnn counting": lambda net, x: _ours(net, x, counted=True),
    "spikingjelly": spikingjelly.documented,
    "spikingjelly_tuned": spikingjelly.tuned,
    "sinabs": sinabs.documented,
}


def contenders(engine: str, net: Spiking, x: Tensor) -> Sequence[Contender]:
    """The ways in which `engine` can run `net` on `x` (B, *input shape), one or more.

    Raises MissingExtraError where its package is not installed, UnsupportedError where it cannot
    run the network.
    """
    return ENGINES[engine](net, x)
