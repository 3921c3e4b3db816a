"""What runs, probes and studies leave behind, checked when it is written and when it is read; no torch."""
