"""`python -m convsnn`: the same commands as the console script `convsnn`."""

from convsnn.commands import main

if __name__ == "__main__":
    raise SystemExit(main())
