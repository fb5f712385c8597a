"""Where torch keeps what it traces and compiles; without it not even a network can be read."""

import os
from pathlib import Path

from convsnn.errors import ConfigError, ExportError
from convsnn.report.files import require_writable

_NAME = "TORCHINDUCTOR_CACHE_DIR"


def require_cache() -> None:
    """Raise ConfigError where the directory that the environment names takes no files."""
    place = os.environ.get(_NAME)
    if not place:
        return
    try:
        require_writable(Path(place))
        possible = not place.startswith(("/proc/", "/sys/"))  # where root may write, and cannot
    except ExportError:
        possible = False
    if not possible:
        raise ConfigError(
            f"{_NAME} names '{place}', which takes no files",
            hint=f"set {_NAME} to a directory that can be written, or unset it",
        )
