"""One label for each text, of a fixed set; judged by accuracy."""
