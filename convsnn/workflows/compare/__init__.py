"""One network, every method of conversion and training, one table."""
