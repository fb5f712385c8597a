"""What a network is asked for, one file per task; see `base` for the contract."""

from convsnn.measure.tasks.base import TASKS, Score, Tally, Task
from convsnn.measure.tasks.decide import Decision, decide
from convsnn.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["TASKS", "Decision", "Score", "Tally", "Task", "decide"]
