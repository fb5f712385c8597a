"""What no other format can say of when layers fire."""

from convsnn.errors import ExportError
from convsnn.spiking.kinds import require_neurons_only
from convsnn.spiking.network import Spiking


def require_steps(net: Spiking, form: str) -> None:
    """UnsupportedError for functions and products; ExportError for a network whose layers wait for
    all steps: a runner that passes spikes on at every step would give other answers."""
    require_neurons_only(net.graph, form)
    if net.schedule != "steps":
        raise ExportError(
            f"a network of the schedule '{net.schedule}' has no form in {form} here: its layers "
            "take in all time steps before they fire",
            hint="convert the network anew, with the schedule 'steps'",
        )
