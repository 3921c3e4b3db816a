"""A study that is there as its record: its cells are redone to check it, run where they are missing, and merged."""
