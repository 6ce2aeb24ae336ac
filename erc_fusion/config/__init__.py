"""The settings of a run: frozen dataclasses, to and from TOML.

Settings only: nothing that reads a file of features, builds a network or trains may enter.
"""

__all__ = ["config", "parsing", "seeds"]
