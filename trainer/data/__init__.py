"""Pairs for training, from published folders: which (index), in what order (order), as tensors (loader, augment)."""
