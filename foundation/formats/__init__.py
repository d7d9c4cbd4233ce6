"""Readers of formats in which others publish data sets, for the pipeline and the trainer."""
