"""One room per verb: what the command line and a notebook both call."""
