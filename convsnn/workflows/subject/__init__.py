"""What a workflow is about: a model and its data, or a saved network."""
