"""The figures of MSAT for any network."""
