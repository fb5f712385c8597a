"""Which published networks convert, and why others do not."""
