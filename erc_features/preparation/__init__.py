"""Raw data becomes a corpus: every clip decoded once into a picture and a sound, and never a row
dropped.

It knows no encoder and no feature file; clips are opened by `media` alone.
"""

__all__ = ["decode", "live_dialogue", "prepare"]
