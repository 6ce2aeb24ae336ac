"""Renders a small corpus in the shape of MELD: faces, voices and words that show an emotion.

It needs nothing from outside and nothing of the other rooms; real data may never be copied in here.
"""

__all__ = ["sample"]
