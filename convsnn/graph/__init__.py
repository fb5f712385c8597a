"""The one form a network has inside this project, and what can be read off it."""

from convsnn.graph.form import Graph
from convsnn.graph.node import Node, Site
from convsnn.graph.running import run

__all__ = ["Graph", "Node", "Site", "run"]
