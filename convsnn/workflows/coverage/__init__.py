"""Which published networks convert, and why others do not."""

from convsnn.workflows.coverage.judging import Coverage, coverage

__all__ = ["Coverage", "coverage"]
