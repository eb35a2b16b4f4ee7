"""JSON for operators and their programs."""
