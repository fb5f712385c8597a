"""Trained networks and data sets that convert() and the commands can be tried on."""
