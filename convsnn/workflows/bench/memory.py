"""Peak memory of an engine, measured in a fresh process where nothing else ran.

The process is `python -m convsnn.workflows.bench.memory`: it reads one request as JSON and answers
with the bytes that running took above what the prepared network held.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from convsnn.errors import ConvsnnError, SimulationError
from convsnn.export import load_artifact, save_artifact
from convsnn.spiking.network import Spiking
from convsnn.workflows.bench.peers import contenders
from convsnn.workflows.bench.subject import random_images

# glibc else keeps what was freed, by chance up to several times of what a run needs
_PROMPT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 18)}
_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Request:
    """One engine in one mode, on the network in the file `artifact`."""

    artifact: str
    engine: str
    precision: str
    mode: str
    timesteps: int
    batch_size: int
    threads: int
    device: str
    seed: int


def peak_memory(net: Spiking, timeout: float | None = None, **request: object) -> int:
    """Bytes that a run takes at its peak; `request` are the fields of Request but the file.

    SimulationError where the process fails or is not done within `timeout` seconds.
    """
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
    with tempfile.TemporaryDirectory(prefix="convsnn-") as folder:
        artifact = Path(folder) / "network.safetensors"
        save_artifact(net, artifact)
        asked = Request(artifact=str(artifact), **request)  # type: ignore[arg-type]
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", __name__],
                env={**os.environ, "PYTHONPATH": paths, **_PROMPT},
                input=json.dumps(asdict(asked)),
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            raise SimulationError(f"not done after {timeout:.0f} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise SimulationError(f"the process died ({done.returncode}): {lines[-1:]}")
    return int(json.loads(done.stdout.splitlines()[-1])["bytes"])


def measure(request: Request) -> int:
    """Bytes above what this process held before the first step."""
    torch.set_num_threads(request.threads)
    device = torch.device(request.device)
    net = load_artifact(Path(request.artifact)).to(device=device)
    shape = tuple(net.graph.input.attrs["shape"])
    x: Tensor = random_images(shape, request.batch_size, seed=request.seed).to(device)
    ways = {(w.mode, w.precision): w for w in contenders(request.engine, net, x)}
    run = ways[request.mode, request.precision].prepare()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run(request.timesteps)
        return torch.cuda.max_memory_allocated(device) - before
    before = _start()
    run(request.timesteps)
    return max(0, _peak() - before)


def _start() -> int:
    """Bytes held now; where the system can, its record of the peak is set back to them."""
    try:
        _RESET.write_text("5")
    except OSError:  # not on Linux: the peak so far has to stand for what is held
        return _peak()
    return _field("VmRSS")


def _peak() -> int:
    if _STATUS.exists():
        return _field("VmHWM")
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _field(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def main() -> int:
    """Answer the request on stdin."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    try:
        found = measure(Request(**json.loads(sys.stdin.read())))
    except ConvsnnError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    answers.write(json.dumps({"bytes": found}) + "\n")
    answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
