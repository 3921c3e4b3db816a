"""docs/findings.md and the answer in README.md: what the reference study found, written from its record alone."""
