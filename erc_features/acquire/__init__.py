"""Data that stands elsewhere: downloads that resume, archives unpacked safely, uploads to a bucket.

What a file means is not known here: no reader of a corpus, no media and no encoder may enter.
"""

__all__ = ["archive", "download", "unpack", "upload"]
