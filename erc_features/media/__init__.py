"""The only room that opens media: clips and sound with PyAV, pictures with Pillow.

It knows paths and arrays; no utterance, corpus or encoder may enter.
"""

from erc_features.media.clip import LONGEST, RATE, Clip, read_clip, trust_no_file
from erc_features.media.endings import CLIPS, PICTURES, SOUNDS
from erc_features.media.faces import LICENCE, FaceCrop
from erc_features.media.picture import count_frames, read_frames, write_jpeg, write_mosaic
from erc_features.media.pictures import PICTURE_SLACK, Pictures
from erc_features.media.recording import SLACK, Sound, sample_at
from erc_features.media.sound import clipped_share, duration, read_audio, write_wav
from erc_features.media.spool import Spool

__all__ = [
    "CLIPS",
    "LICENCE",
    "LONGEST",
    "PICTURES",
    "PICTURE_SLACK",
    "RATE",
    "SLACK",
    "SOUNDS",
    "Clip",
    "FaceCrop",
    "Pictures",
    "Sound",
    "Spool",
    "clipped_share",
    "count_frames",
    "duration",
    "read_audio",
    "read_clip",
    "read_frames",
    "sample_at",
    "trust_no_file",
    "write_jpeg",
    "write_mosaic",
    "write_wav",
]
