"""A training from the start: its document, its table and its page."""
