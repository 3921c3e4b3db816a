"""A question and a passage, of which a span answers it; judged by the F1 of the answer's words."""
