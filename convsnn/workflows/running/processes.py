"""One command run by several processes, as `torchrun` starts them: one speaks, all share the work.

Every exchange begins with each process saying whether it is well, so that an error in any of them
ends all, with one message, and none waits for a process that has given up. They leave together: one
that is done waits for the first to have written what it writes, so that none finds the connections
to another closed while it still holds them.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from convsnn.errors import ConvsnnError
from convsnn.workflows.running.launched import Dismissed, launched

_PATIENCE = timedelta(days=7)  # a slow process is no dead one; torchrun ends all when one dies


class Failure(NamedTuple):
    """The error that a process met; `ends` says that it cannot go on with anything."""

    error: ConvsnnError
    ends: bool


class Group:
    """The processes, of which this is `number` of `count`; see `convsnn.spiking.sharing.Share`.

    With `goes_on` more follows what is scored, and nobody leaves behind it.
    """

    def __init__(self, number: int = 0, count: int = 1) -> None:
        self.number, self.count = number, count
        self.device = torch.device("cpu")  # where sums are exchanged
        self.over = count == 1
        self.goes_on = False
        self._met: ConvsnnError | None = None

    def agree(self, numbers: Sequence[int]) -> list[int]:
        """See `Share`."""
        told = torch.tensor(list(numbers), dtype=torch.int64)
        if self.count > 1:
            self._are_all_well()
            dist.broadcast(told, 0)
        return told.tolist()

    def add(self, value: Tensor) -> Tensor:
        """See `Share`."""
        return self._reduce(value, dist.ReduceOp.SUM)

    def least(self, value: Tensor) -> Tensor:
        """See `Share`."""
        return self._reduce(value, dist.ReduceOp.MIN)

    def most(self, value: Tensor) -> Tensor:
        """See `Share`."""
        return self._reduce(value, dist.ReduceOp.MAX)

    def first(self, value: Tensor) -> Tensor:
        """See `Share`."""
        if self.count == 1:
            return value
        self._are_all_well()
        placed = value.to(self.device, copy=True).contiguous()
        dist.broadcast(placed, 0)
        return placed.to(value.device)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Work that the rest can do without: an error of ours that any process meets in it is one
        in all, and none leaves. One that `ends` a process, which is another, still ends all."""
        try:
            yield
            if self.count > 1:
                self._are_all_well()
        except ConvsnnError as error:
            if error is not self._met and self.count > 1:
                failure = self.exchange(error, ends=False)
                if failure is not None and failure.ends:
                    raise self._leaving(failure) from None
            raise

    @property
    def broken(self) -> bool:
        """Whether a process has left with an error."""
        return self.count > 1 and self.over

    def done(self) -> None:
        """The shared work is over: all but process 0 leave here, unless it `goes_on`."""
        if self.over or self.goes_on:
            return
        self._are_all_well()
        self.over = True
        if self.number:
            raise Dismissed(0)

    def _reduce(self, value: Tensor, how: dist.ReduceOp.RedOpType) -> Tensor:
        if self.count == 1:
            return value
        self._are_all_well()
        placed = value.to(self.device, copy=True)
        dist.all_reduce(placed, how)
        return placed.to(value.device)

    def _are_all_well(self) -> None:
        failure = self.exchange(None)
        if failure is None:
            return
        if failure.ends:
            raise self._leaving(failure)
        self._met = failure.error
        raise failure.error

    def _leaving(self, failure: Failure) -> BaseException:
        """How this process ends: the first by what it says, the others in silence."""
        self.over, self._met = True, failure.error
        return Dismissed(2) if self.number else failure.error

    def exchange(self, error: Exception | None, *, ends: bool = True) -> Failure | None:
        """Tell the others of an `error` here; the first that any process told of."""
        told = [] if error is None else list(_written(error, ends=ends))
        lengths = self._gather(torch.tensor([len(told)]))
        longest = int(max(lengths))
        if longest == 0:
            return None
        texts = self._gather(torch.tensor(told + [0] * (longest - len(told)), dtype=torch.uint8))
        found = [_read(text, int(length)) for text, length in zip(texts, lengths, strict=True)]
        # one that ends a process goes before one that does not
        number = max(range(self.count), key=lambda n: (found[n].get("ends", -1), -n))
        where = f"process {number} of {self.count}: "
        error = ConvsnnError(where + found[number]["message"], hint=found[number]["hint"])
        return Failure(error, bool(found[number]["ends"]))

    def _gather(self, value: Tensor) -> list[Tensor]:
        found = [torch.empty_like(value) for _ in range(self.count)]
        dist.all_gather(found, value)
        return found


def _tell(group: Group, error: Exception) -> None:
    with suppress(RuntimeError):  # the others are gone, and this error is what there is to say
        group.exchange(error)


def _written(error: Exception, *, ends: bool) -> bytes:
    known = isinstance(error, ConvsnnError)
    message = str(error) if known else f"unexpected {type(error).__name__}: {error}"
    told = {"message": message, "hint": getattr(error, "hint", ""), "ends": ends}
    return json.dumps(told).encode()


def _read(text: Tensor, length: int) -> dict[str, Any]:
    return dict(json.loads(bytes(text[:length].tolist()))) if length else {}


@contextmanager
def processes() -> Iterator[Group]:
    """The group that torchrun has started, or this process alone.

    Only process 0 prints. An error in any process leaves the `with` of process 0; the others are
    `Dismissed` with exit code 2. All leave it at the same time, unless one is interrupted.
    """
    count = launched()
    if count == 1:
        yield Group()
        return
    group = Group(int(os.environ["RANK"]), count)
    with ExitStack() as stack:
        if group.number:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=_PATIENCE)
        stack.callback(dist.destroy_process_group)
        try:
            yield group
        except KeyboardInterrupt:
            raise Dismissed(130) if group.number else KeyboardInterrupt from None
        except Dismissed:
            _wait_for_all()
            raise
        except Exception as error:
            if not group.over:
                _tell(group, error)
            _wait_for_all()
            if group.number:
                raise Dismissed(2) from None
            raise
        _wait_for_all()


@contextmanager
def leaving_together() -> Iterator[None]:
    """Let processes that trained together, where torchrun has started several, end together; an
    error ends the one that meets it, and torchrun the others."""
    try:
        yield
    except Dismissed:
        _part()
        raise
    _part()


def _part() -> None:
    """End the group that training has made, where it has made one, when all have come."""
    if launched() > 1 and dist.is_initialized():
        _wait_for_all()
        dist.destroy_process_group()


def _wait_for_all() -> None:
    """Return when every process is here, or one has died."""
    with suppress(RuntimeError):  # what there is to say of that was said
        dist.barrier()
