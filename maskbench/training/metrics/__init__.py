"""Metric modules in the form that `evaluate.load(<path of the file>)` takes; offline."""
