"""A converted network trained for few time steps: before and after."""
