"""Files: a file is written completely or not at all, and is identified by its hash."""
