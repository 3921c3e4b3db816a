"""A tag for each word of a sentence, such as the names in it; judged by whole entities."""
