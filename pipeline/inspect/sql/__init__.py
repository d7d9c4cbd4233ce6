"""`zhclip sql`: questions to a run, one by one or at a prompt."""
