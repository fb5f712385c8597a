"""How fast networks are simulated, beside the packages people use today."""
