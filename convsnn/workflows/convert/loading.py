"""`convsnn.load`: a saved spiking network as the object that Python users hold."""

from pathlib import Path

from convsnn.workflows.snn import SNN
from convsnn.workflows.subject.saved import load_saved


def load(path: str | Path) -> SNN:
    """Open what `SNN.save`, `SNN.report` or a command wrote: the file, or the folder it is in.

    Raises LoadError for a file that is none, is damaged, or does not say how it was made.
    """
    return SNN(load_saved(Path(path)))
