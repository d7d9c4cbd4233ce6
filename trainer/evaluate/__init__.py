"""Zero-shot retrieval: evaluation sets as they are published, recall, the paper's tables beside it, and its curve."""
