"""The commands from feature files on: each parses, makes one call and prints what came back.

Nothing may be decided here that cannot be done from Python, and nothing heavy is imported before a
command runs.
"""

__all__ = ["runs", "training"]
