"""The network of a run, all its seeds at once: layers, heads, contexts, and the whole.

Tensors in, tensors out: no files, no losses and no optimiser may enter.
"""

__all__ = ["context", "fusion", "heads", "layers"]
