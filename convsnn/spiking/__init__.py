"""A spiking network as data: the plan, the neurons of every layer, and the graph they stand in."""
