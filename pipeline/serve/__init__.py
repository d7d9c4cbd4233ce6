"""`zhclip serve`: a web service that shows a folder of runs. It reads, and never changes, what it shows."""
