"""What a threshold means for a run's scorer."""
