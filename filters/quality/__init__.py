"""Filters on the quality of captions that go beyond the paper. Each is off unless a recipe names it."""
