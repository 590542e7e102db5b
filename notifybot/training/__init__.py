"""Training: the hook around the loop."""
