"""Several methods on one network, side by side."""
