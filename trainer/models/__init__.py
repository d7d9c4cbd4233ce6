"""Chinese CLIP models: configured (`config`), built (`clip`), initialised (`initialise`), exchanged (`exchange`).

Import from the modules: this one stays empty so that reading a recipe does not import torch.
"""
