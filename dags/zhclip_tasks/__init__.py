"""What the DAGs share. Imports nothing of zhclip: tasks call its command line, which may live in another environment."""
