"""What to say of an error that nothing was prepared for: the one place where such errors end."""

import errno
import os
from types import TracebackType

from convsnn.errors import ConvsnnError, out_of_memory

# What was being done where memory ran out, by the package that was doing it; the innermost counts.
_DOING = (
    ("zoo.data", "reading the data", "use fewer or smaller images, or folder:DIR, whose images "
     "are read when they are needed"),
    ("convsnn.load", "reading the network", "use a machine with more memory"),
    ("convsnn.passes", "reading the network", "use a machine with more memory"),
    ("calibrate", "calibrating", "choose a smaller --batch-size, or fewer --calibration-samples"),
    ("convsnn.train", "training",
     "choose a smaller --batch-size, or --set batch_size=N, or fewer time steps"),
    ("convsnn.simulate", "simulating", "choose a smaller --batch-size"),
    ("convsnn.measure", "simulating", "choose a smaller --batch-size"),
    ("convsnn.report", "writing the report", "use fewer --timesteps, or more memory"),
    ("convsnn.export", "reading or writing a saved network", "use a machine with more memory"),
)  # fmt: skip
_REMEDIES = {
    errno.ENOSPC: "free some space, or name another place with --output",
    errno.EDQUOT: "free some space, or name another place with --output",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EACCES: "change its permissions, or name another place",
    errno.EROFS: "name another place with --output",
    errno.EMFILE: "raise the limit of open files: ulimit -n 4096",
    errno.ELOOP: "remove the link that leads to itself",
}


def explain(error: BaseException) -> ConvsnnError:
    """`error` in words of what was being done, with what can be done about it."""
    if out_of_memory(error):
        doing, remedy = _doing(error.__traceback__)
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return ConvsnnError(f"memory ran out while {doing}: {first}", hint=remedy)
    if isinstance(error, OSError) and error.errno is not None:
        where = "" if error.filename is None else f" '{error.filename}'"
        return ConvsnnError(
            f"cannot read or write{where}: {os.strerror(error.errno)}",
            hint=_REMEDIES.get(error.errno, "check the path and the disk it is on"),
        )
    return ConvsnnError(
        f"unexpected {type(error).__name__}: {error}",
        hint="please report it; CONVSNN_DEBUG=1 shows the traceback",
    )


def closed_output(error: OSError | None) -> ConvsnnError:
    """What to say where the result could not be printed."""
    code = None if error is None else error.errno
    why = "it is closed" if code in (None, errno.EPIPE, errno.EBADF) else os.strerror(code)
    return ConvsnnError(
        f"the result could not be written to the standard output: {why}",
        hint="a result directory, where the command makes one, is whole all the same",
    )


def _doing(trace: TracebackType | None) -> tuple[str, str]:
    """What the innermost frame that is known was doing, and what takes less memory."""
    found = "working", "choose a smaller --batch-size, or use a machine with more memory"
    while trace is not None:
        module = f"{trace.tb_frame.f_globals.get('__name__', '')}."
        for package, doing, remedy in _DOING:
            if module.startswith(f"{package}."):
                found = doing, remedy
        trace = trace.tb_next
    return found
