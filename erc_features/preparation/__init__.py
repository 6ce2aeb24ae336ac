"""Raw data becomes a corpus: every clip is decoded once into a picture and a sound, and no row is
ever dropped.

It knows no encoder and no feature file; only `media` opens clips.
"""

__all__ = ["decode", "guard", "live_dialogue", "prepare"]
