"""Peak memory grows neither with the time steps nor with the number of images."""

import subprocess
import sys

import pytest
from conftest import ROOT

MEASURE = """
import resource, sys
sys.path.insert(0, "tests")
import numpy as np
import torch
from conftest import Maker, dyadic_plan
from convsnn.measure import evaluate
from convsnn.spiking.network import to_spiking
from convsnn.simulate import Engine, simulate

what, size, precision = sys.argv[1], int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
maker = Maker(np.random.default_rng(0), (3, 32, 32))
x = "input"
for _ in range(3):
    x = maker.relu(maker.conv(x, 16, padding=1))
pooled = maker.avg_pool(maker.avg_pool(maker.avg_pool(x)))
graph = maker.graph(maker.linear(maker.flatten(pooled), 10))
net = to_spiking(graph, dyadic_plan(graph, 0))
draw = torch.Generator().manual_seed(0)
images = lambda: torch.rand(32, 3, 32, 32, generator=draw)
labels = torch.arange(32) % 10

def work(amount):
    if what == "steps":
        simulate(net, images(), steps=amount, count=True, engine=Engine(precision))
    else:
        batches = ((images(), labels) for _ in range(amount))
        evaluate(net, batches, steps=8, engine=Engine(precision))

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = int(open("/proc/self/statm").read().split()[1]) * 4
work(size)
print(peak() - before)
"""


def kilobytes(what, size, precision):
    """What the work adds to the memory of a fresh process, at its peak."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, what, str(size), precision],
        capture_output=True, text=True, check=True, cwd=ROOT, timeout=900,
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux tells it")
@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize(("what", "few", "many"), [("steps", 16, 256), ("images", 2, 16)])
def test_peak_memory_stays(what, few, many, precision):
    short, long = (kilobytes(what, size, precision) for size in (few, many))
    assert long <= 1.1 * short, f"{short} kB for {few} {what}, {long} kB for {many}"
