"""Training a converted network for few time steps."""

from convsnn.workflows.finetune.network import finetune_network
from convsnn.workflows.finetune.saved import Finetuned, finetune_saved

__all__ = ["Finetuned", "finetune_network", "finetune_saved"]
