"""Renders a small corpus in the shape of MELD: faces, voices and words that show an emotion.

It needs no data and no other room; real data may never be copied in here.
"""

__all__ = ["sample"]
