"""Large networks: what reading one costs in memory, as a multiple of its weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

READ = """
import resource, sys
import torch
from convsnn.workflows.subject.source import find_source
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
torch.randn(1)
before = peak()
source = find_source(sys.argv[1], weights=None, input_shape=None)
graph = source.graph(torch.zeros(2, 16))
weights = sum(t.numel() * t.element_size() for t in graph.tensors.values())
print((peak() - before) / weights)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is counted in kilobytes on Linux")
@pytest.mark.parametrize("beside", [True, False], ids=["external data", "one file"])
def test_an_onnx_file_is_read_in_under_four_times_its_weights(beside: bool, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="torch's newer exporter needs onnxscript")
    module = nn.Sequential(nn.Linear(16, 5000), nn.ReLU(), nn.Linear(5000, 6000), nn.ReLU())
    path = tmp_path / "m.onnx"
    example = (torch.zeros(2, 16),)
    torch.onnx.export(
        module.eval(), example, path, dynamo=True, external_data=beside, verbose=False
    )
    assert path.with_suffix(".onnx.data").exists() == beside
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 4
