"""The page of `convsnn tune`; its table and verdict are in `convsnn.report.tuned`."""
