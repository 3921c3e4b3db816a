"""Fine-tuning of one cell: training, evaluation and the record of the run."""
