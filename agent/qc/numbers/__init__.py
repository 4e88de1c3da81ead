"""The formulas of the metrics: exact sums of one slice in, numbers with their preconditions out."""
