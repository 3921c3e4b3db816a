"""What masks of several kinds share, and what is too long for the module of one; no module here is a kind."""
