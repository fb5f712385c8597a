"""Which of the peers are there."""

from collections.abc import Callable, Mapping, Sequence

from convsnn.errors import MissingExtraError
from convsnn.workflows.bench.peers import sinabs, spikingjelly
from convsnn.workflows.running.voice import note

_PROBES: Mapping[str, Callable[[], object]] = {
    "spikingjelly": spikingjelly.modules,
    "sinabs": sinabs.module,
}


def installed(names: Sequence[str], *, asked: bool) -> tuple[str, ...]:
    """Those of `names` that can be imported; MissingExtraError where the user asked for one that
    cannot, else a note on stderr."""
    found = []
    for name in names:
        try:
            _PROBES[name]()
        except MissingExtraError as error:
            if asked:
                raise
            text = f"{error}, so it is not measured; {error.hint}"
            note(text)
        else:
            found.append(name)
    return tuple(found)
