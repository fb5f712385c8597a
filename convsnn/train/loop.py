"""The training loop: epochs, learning rate, guard against divergence, checkpoints that go on.

Which samples an update sees and how they are changed is drawn from the seed, the epoch and the
update alone, so that a run that was stopped and gone on with makes the same losses, to the last
digit on one device. Devices, distribution and mixed precision are `accelerate`'s.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convsnn.errors import ConfigError, TrainingError
from convsnn.train.averaging import RunningMean
from convsnn.train.checkpoint import fingerprint, load, save
from convsnn.train.devices import is_main, make_accelerator, make_optimizer
from convsnn.train.network import TrainableNetwork
from convsnn.train.objective import Judging, Objective
from convsnn.train.observed import describe, moved, trained_weights
from convsnn.train.samples import Batch, Samples
from convsnn.train.scan import ScannedLIF
from convsnn.train.schedule import factor
from convsnn.train.settings import WARM, Epoch, Settings, State, changes, permutation, split

LAST = "last.safetensors"
BEST = "best.safetensors"


def train(
    network: TrainableNetwork,
    samples: Samples,
    objective: Objective,
    settings: Settings,
    *,
    folder: Path | None = None,
    groups: Sequence[Mapping[str, Any]] | None = None,
    device: torch.device | str | None = None,
    progress: Callable[[Epoch], None] | None = None,
    every: int = 200,
    after: Callable[[], None] | None = None,
    purpose: Mapping[str, Any] | None = None,
    compile: bool = False,
) -> State:
    """Train `network` in place; returns how it went.

    `groups` are the optimizer's parameter groups, each with a `scale` of the learning rate and
    `units` of its updates (default: all parameters alike). With `folder`, a checkpoint is written
    there after every epoch and every `every` updates; one that is there is gone on with. `after` is
    called after every update. `purpose` is what else a checkpoint depends on. With `compile` the
    neurons' loops over the steps are compiled: the same numbers up to rounding, sooner. Raises
    ConfigError where settings and samples do not fit or a checkpoint belongs to another run,
    TrainingError where the loss stops being finite or the network collapses: the checkpoint before
    that stays.
    """
    if settings.patience is not None and folder is None:
        raise ConfigError("patience needs a folder, where the best network is kept")
    for neurons in network.modules():
        if isinstance(neurons, ScannedLIF):
            neurons.compiles = compile
    run = _Run(
        network, samples, objective, settings, folder, groups, device, every, after, purpose or {}
    )
    with run.place():
        while not run.stops():
            run.epoch(run.state.epoch)
            if progress is not None:
                progress(run.state.epochs()[-1])
        if settings.patience is not None:
            run.take_best()
        run.mean.take()
    return run.state


class _Run:
    """One call of `train`."""

    def __init__(
        self,
        network: TrainableNetwork,
        samples: Samples,
        objective: Objective,
        settings: Settings,
        folder: Path | None,
        groups: Sequence[Mapping[str, Any]] | None,
        device: torch.device | str | None,
        every: int,
        after: Callable[[], None] | None,
        purpose: Mapping[str, Any],
    ) -> None:
        self.network, self.samples, self.objective = network, samples, objective
        self.settings, self.folder, self.every, self.after = settings, folder, every, after
        self.accelerator = make_accelerator(settings, device)
        self.held, self.numbers = split(len(samples), settings.held_out, seed=settings.seed)
        size = settings.batch_size * self.accelerator.num_processes
        self.updates = max(1, len(self.numbers) // size)
        self.size = min(size, len(self.numbers))
        network.to(self.accelerator.device)
        self.optimizer = make_optimizer(network, groups, settings)
        self.state = State()
        self.first = {name: w.detach().clone() for name, w in trained_weights(network)}
        self.of = fingerprint(network, {**asdict(settings), **purpose}, samples.digest)
        self.mean = RunningMean(network, settings.average)
        self._resume()
        self.model, self.prepared = self.accelerator.prepare(network, self.optimizer)
        self.started = time.perf_counter() - self.state.seconds
        self.since = time.perf_counter(), self.state.done

    def _resume(self) -> None:
        if self.folder is None or not (self.folder / LAST).exists():
            torch.manual_seed(self.settings.seed)
            return
        found = load(self.folder / LAST, of=self.of)
        found.restore(self.network, self.optimizer, self.mean)
        found.restore_random()
        self.state = found.read(State)

    @contextmanager
    def place(self) -> Iterator[None]:
        """The network in training mode, and in the mode it had before at the end."""
        before = self.network.training
        self.network.train()
        try:
            yield
        finally:
            self.network.train(before)

    def epoch(self, number: int) -> None:
        """Run what is left of an epoch, score it and write a checkpoint."""
        state = self.state
        order = permutation(self.numbers, seed=self.settings.seed, epoch=number)
        while state.update < self.updates and not (state.progress >= 1 and state.sums[2]):
            self._update(order[state.update * self.size :][: self.size], number)
            state.update += 1
            if self.every and state.done % self.every == 0:
                self._save(LAST)
        described = describe(self.network)  # before scoring, which runs the neurons too
        with self.mean.in_place():
            held = self.score(self.held) if self.held else None
        loss, right, seen = state.sums
        entry = Epoch(
            number + 1, loss / seen, right / seen, held, self._rate(), state.seconds,
            **described, moved=moved(self.network, self.first),
        )  # fmt: skip
        self._guard_collapse(entry)
        state.history.append(asdict(entry))
        state.epoch, state.update, state.sums = number + 1, 0, [0.0, 0.0, 0.0]
        if held is not None and held > state.best:
            state.best, state.best_epoch = held, number + 1
            self._save(BEST)
        self._save(LAST)

    def _update(self, numbers: Sequence[int], epoch: int) -> None:
        state, settings, accelerator = self.state, self.settings, self.accelerator
        generator = changes(
            settings.seed, state.done * accelerator.num_processes + accelerator.process_index
        )
        part = numbers[accelerator.process_index :: accelerator.num_processes]
        batch = _moved(self.samples.batch(part, generator=generator), accelerator.device)
        for group in self.prepared.param_groups:
            group["lr"] = self._rate() * group.get("scale", 1.0)
        with accelerator.autocast():
            logits = self.model(batch.x, steps=settings.steps)
        logits = logits.float()
        loss = self.objective(logits, batch, self.network)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss became {value} in epoch {epoch + 1}, update {state.update + 1}",
                hint=self._advice(),
            )
        self.prepared.zero_grad()
        accelerator.backward(loss)
        if settings.clip is not None:
            accelerator.clip_grad_norm_(self.model.parameters(), settings.clip)
        self.prepared.step()
        if self.after is not None:
            self.after()
        right = self._right(logits.detach().mean(0)[: len(batch.labels)], batch)
        state.sums = [
            state.sums[0] + value * len(right),
            state.sums[1] + float(right.sum()),
            state.sums[2] + len(right),
        ]
        state.done += 1
        self.mean.add(state.done)
        state.seconds = time.perf_counter() - self.started
        state.progress = self._agreed(self._progress())

    def _right(self, answers: Tensor, batch: Batch) -> Tensor:
        if isinstance(self.objective, Judging):
            return self.objective.right(answers, batch)
        return (answers.argmax(1) == batch.labels).float()

    def _progress(self) -> float:
        """How far along the schedule; by the clock where minutes bound the run."""
        state, settings = self.state, self.settings
        total = self.updates * settings.epochs
        by_count = state.done / total
        if settings.minutes is None:
            return by_count
        start, done = self.since
        pace = (time.perf_counter() - start) / max(1, state.done - done)
        left = max(1.0, (settings.minutes * 60 - state.seconds) / pace)
        # what is left of the way, divided by the updates that time or epochs still allow
        move = (1 - state.progress) / min(left, total - state.done + 1)
        if state.seconds >= settings.minutes * 60:
            return 1.0
        return max(by_count, state.progress + move)

    def _agreed(self, value: float) -> float:
        """What the main process says, so that all stop at the same update."""
        if self.settings.minutes is None or self.accelerator.num_processes == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64, device=self.accelerator.device)
        torch.distributed.broadcast(told, 0)
        return float(told)

    def _rate(self) -> float:
        warm = min(1.0, (self.state.done + 1) / WARM)
        fallen = factor(self.settings.schedule, self.state.progress)
        return self.settings.learning_rate * warm * fallen

    @torch.no_grad()
    def score(self, numbers: Sequence[int]) -> float:
        """Accuracy on samples of these numbers, as they are."""
        self.network.eval()
        right = 0.0
        for start in range(0, len(numbers), self.size):
            batch = self.samples.batch(numbers[start : start + self.size], generator=None)
            batch = _moved(batch, self.accelerator.device)
            logits = self.network(batch.x, steps=self.settings.steps)
            right += float(self._right(self.network.predict(logits)[-1], batch).sum())
        self.network.train()
        return right / len(numbers)

    def stops(self) -> bool:
        """Whether epochs, patience or time have run out."""
        settings, state = self.settings, self.state
        late = state.epoch - state.best_epoch
        tired = settings.patience is not None and late >= settings.patience
        spent = settings.minutes is not None and state.progress >= 1 and not state.update
        return tired or spent or state.epoch >= settings.epochs

    def take_best(self) -> None:
        """Go back to the network that scored best on the samples held out."""
        if self.folder is not None and self.state.best_epoch != self.state.epoch:
            load(self.folder / BEST, of=self.of).restore(self.network, mean=self.mean)

    def _guard_collapse(self, entry: Epoch) -> None:
        before = [known["accuracy"] for known in self.state.history]
        if before and entry.accuracy < 0.5 * max(before):
            raise TrainingError(
                f"the network collapsed in epoch {entry.number}: of the training samples it gets "
                f"{entry.accuracy:.1%} right, after {max(before):.1%}",
                hint=self._advice(),
            )

    def _advice(self) -> str:
        kept = "" if self.folder is None else f"; the last good network is {self.folder / LAST}"
        return f"train with a smaller learning rate{kept}"

    def _save(self, name: str) -> None:
        for key, tensor in self.network.state_dict().items():
            if not bool(tensor.isfinite().all()):
                raise TrainingError(
                    f"'{key}' left the finite numbers in epoch {self.state.epoch + 1}, by update "
                    f"{self.state.update}",
                    hint=self._advice(),
                )
        if self.folder is not None and is_main():
            save(
                self.folder / name, self.network, self.optimizer, asdict(self.state),
                mean=self.mean.values, of=self.of,
            )  # fmt: skip


def _moved(batch: Batch, device: torch.device) -> Batch:
    return replace(batch, x=batch.x.to(device), labels=batch.labels.to(device))
