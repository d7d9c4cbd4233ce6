"""Publish: kept pairs as webdataset tars."""
