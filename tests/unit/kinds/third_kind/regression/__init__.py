"""A number for each text, as in STS-B; judged by Pearson's correlation. The package itself has no such kind."""
