"""Ready-made connections to the places and frameworks that people train in."""
