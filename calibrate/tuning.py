"""Searches the numeric options of a neuron for those of the least error (Optuna's TPE).

The objective is a function of the neuron's text, so that what is printed at the end is what was
tried: option values are rounded to three digits first. Trials are kept in a journal of JSON lines
as they end, and each trial's sampler is seeded by the number of trials before it, so that a search
that was interrupted and went on gives what an uninterrupted one gives.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsnn.errors import CalibrationError, ConfigError, LoadError, MissingExtraError
from convsnn.neurons import NEURONS
from convsnn.registry import split_spec

if TYPE_CHECKING:
    import optuna

STUDY = "tuning"
DIGITS = 3
SEEDS = 2**32  # a sampler takes seeds below this


@dataclass(frozen=True)
class Range:
    """Where an option is searched, on a logarithmic scale: all are positive factors."""

    low: float
    high: float


# They hold the three published sets with room on both sides; ten times wider, most trials are lost.
SPACES: Mapping[str, Mapping[str, Range]] = {
    "msat": {
        "alpha": Range(0.01, 1.0),
        "ka": Range(0.1, 5.0),
        "ki": Range(0.2, 5.0),
        "c": Range(1.0, 20.0),
        "tau_mp": Range(0.1, 2.0),
        "tau_rd": Range(0.05, 2.0),
        "reference": Range(0.5, 4.0),
    }
}
_TRACKING, _EVOKED = ("alpha", "ka", "ki", "tau_mp"), ("c", "tau_rd")


@dataclass(frozen=True)
class Trial:
    """One finished trial: the neuron's text and its error, None where it could not be run."""

    neuron: str
    error: float | None


def space_of(neuron: str) -> dict[str, Range]:
    """The options of `neuron` that are searched; ConfigError where there are none.

    `reference` is searched only where the text gives one: without it the neuron is a different
    one. Options of a part of MSAT that is switched off have no effect and are left alone.
    """
    name, _ = split_spec(neuron)
    made = NEURONS.create(neuron, threshold=1.0)
    space = dict(SPACES.get(name, {}))
    if getattr(made, "reference", None) is None:
        space.pop("reference", None)
    for part, options in (("dtt", _TRACKING), ("det", _EVOKED)):
        if not getattr(made, part, True):
            space = {key: range_ for key, range_ in space.items() if key not in options}
    if not space:
        raise ConfigError(
            f"the neuron '{neuron}' has nothing to tune",
            hint=f"neurons that have: {', '.join(sorted(SPACES))}",
        )
    for key, value in start_of(neuron, space).items():
        low, high = space[key].low, space[key].high
        if not low <= value <= high:
            raise ConfigError(
                f"neuron '{name}': {key}={value:g} is outside what is searched, {low:g} to {high:g}"
            )
    return space


def start_of(neuron: str, space: Iterable[str]) -> dict[str, float]:
    """The values that `neuron` has for the options of `space`, of its set where not given."""
    made: Any = NEURONS.create(neuron, threshold=1.0)
    known = {**vars(made), **vars(made.constants)}
    return {key: float(known[key]) for key in space}


def with_options(neuron: str, values: Mapping[str, float]) -> str:
    """`neuron` with these options, rounded to DIGITS significant digits."""
    name, given = split_spec(neuron)
    rounded = {key: f"{value:.{DIGITS}g}" for key, value in values.items()}
    options = ",".join(f"{key}={value}" for key, value in {**given, **rounded}.items())
    return f"{name}:{options}"


def load_optuna() -> Any:
    """The module optuna, quiet; MissingExtraError where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("optuna", "tune") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class Study:
    """A search that is kept in the file `journal` and goes on from there.

    `objective(neuron)` gives an error to make small; it is None where the neuron
    cannot be run. MissingExtraError where Optuna is not installed,
    LoadError where the journal is damaged, though half a line at its end is only cut off.
    """

    def __init__(self, neuron: str, journal: Path, *, seed: int) -> None:
        self.neuron, self.seed = neuron, seed
        self.space = space_of(neuron)
        self._optuna = optuna = load_optuna()
        with self._readable(journal):
            _cut_half_line(journal)
            # the file backend reads and writes JSON; it takes no snapshots, which would be pickled
            backend = optuna.storages.journal.JournalFileBackend(str(journal))
            storage = optuna.storages.JournalStorage(backend)
            self._study = optuna.create_study(
                study_name=STUDY, storage=storage, load_if_exists=True, direction="minimize"
            )
            for trial in self._study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # cut short
            for kept in self.trials():
                self._examine(kept)

    def trials(self) -> list[Trial]:
        """All finished trials, in order; those that were cut short are not among them."""
        return [Trial(t.user_attrs["neuron"], _value(t)) for t in self._finished()]

    def best(self) -> Trial:
        """The trial of the least error; CalibrationError where none could be run."""
        found = [(t.error, n, t) for n, t in enumerate(self.trials()) if t.error is not None]
        if not found:
            raise CalibrationError(
                f"no setting of '{self.neuron}' could be run", hint="give more --trials"
            )
        return min(found)[2]

    def step(self, objective: Callable[[str], float | None]) -> Trial:
        """Run one more trial, the first at the neuron as it was given."""
        optuna, before = self._optuna, len(self._finished())
        self._study.sampler = optuna.samplers.TPESampler(
            seed=(1000 * self.seed + before) % SEEDS, multivariate=False
        )
        if before == 0 and not self._study.get_trials(states=[optuna.trial.TrialState.WAITING]):
            self._study.enqueue_trial(start_of(self.neuron, self.space))
        trial = self._study.ask()
        values = {
            key: trial.suggest_float(key, range_.low, range_.high, log=True)
            for key, range_ in self.space.items()
        }
        neuron = with_options(self.neuron, values)
        trial.set_user_attr("neuron", neuron)
        error = objective(neuron)
        if error is None:
            trial.set_user_attr("refused", True)  # unlike a trial that was cut short
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(trial, error)
        return Trial(neuron, error)

    def _finished(self) -> "Sequence[optuna.trial.FrozenTrial]":
        return [
            trial
            for trial in self._study.get_trials(deepcopy=False)
            if trial.value is not None or "refused" in trial.user_attrs
        ]

    def _examine(self, kept: Trial) -> None:
        """ValueError where a trial in the journal is none of this search."""
        missing = self.space.keys() - split_spec(kept.neuron)[1].keys()
        if missing:
            raise ValueError(
                f"a trial of '{kept.neuron}' does not give {', '.join(sorted(missing))}"
            )
        if kept.error is not None and not isfinite(kept.error):
            raise ValueError(f"the error of '{kept.neuron}' is {kept.error}")

    @contextmanager
    def _readable(self, journal: Path) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Optuna applies lines unchecked: damaged, they raise anything
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise LoadError(
                f"the journal '{journal}' cannot be gone on with ({reason})",
                hint="start anew with --force, or in another directory",
            ) from error


def _cut_half_line(journal: Path) -> None:
    """Remove what stands after the last end of line: a run that was killed may leave it."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with journal.open("r+b") as file:
            file.truncate(whole)


def _value(trial: "optuna.trial.FrozenTrial") -> float | None:
    return None if trial.value is None else float(trial.value)
