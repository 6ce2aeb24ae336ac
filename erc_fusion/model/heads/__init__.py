"""The heads: how modalities become one embedding. Plug-ins add to the entry points `erc.heads`.

A head fuses the files of each utterance; it may never combine different rows of a batch.
"""

from typing import TYPE_CHECKING

from erc_features.errors import choose
from erc_features.plugins import load, with_plugins

if TYPE_CHECKING:
    from erc_fusion.model.heads.base import Head

__all__ = ["GROUP", "HEADS", "base", "head_table", "load_head"]

GROUP = "erc.heads"
HEADS = {
    "attention": "erc_fusion.model.heads.attention:AttentionHead",
    "gated": "erc_fusion.model.heads.gated:GatedHead",
    "late": "erc_fusion.model.heads.late:LateHead",
    "linear": "erc_fusion.model.heads.linear:LinearHead",
    "lowrank": "erc_fusion.model.heads.lowrank:LowRankHead",
    "mlp": "erc_fusion.model.heads.mlp:MlpHead",
    "triplet": "erc_fusion.model.heads.triplet:TripletHead",
}


def head_table() -> dict[str, str]:
    """Name -> "module:class" of every head and plug-in; raises ErcError if two share a name."""
    return with_plugins(GROUP, HEADS)


def load_head(name: str) -> "type[Head]":
    """The class of a head; raises ErcError if it is unknown or its module can't be imported."""
    table = head_table()
    return load(table[choose("head", name, table)])
