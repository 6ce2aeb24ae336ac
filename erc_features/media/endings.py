"""The file name endings of pictures, sounds and clips, in lower case."""

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
SOUNDS = frozenset({".wav", ".mp3", ".m4a", ".ogg", ".flac", ".aac", ".opus"})
CLIPS = frozenset({".mp4", ".mkv", ".avi", ".mov", ".webm", ".flv"})
