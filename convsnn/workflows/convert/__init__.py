"""From a trained network to a calibrated spiking one."""
