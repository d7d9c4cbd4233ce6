"""Read: metadata files become canonical pairs."""
