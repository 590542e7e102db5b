"""Delivery: from a recorded event to a receiver that has it."""
