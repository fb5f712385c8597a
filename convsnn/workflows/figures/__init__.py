"""The figures 2 to 5 of MSAT, drawn again for any network."""

from convsnn.workflows.figures.drawing import Drawn, figures

__all__ = ["Drawn", "figures"]
