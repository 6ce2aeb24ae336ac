"""The heads: how modalities become one embedding. A plug-in adds to entry points `erc.heads`."""

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from erc_features.errors import ErcError, choose

if TYPE_CHECKING:
    from erc_fusion.heads.base import Head

GROUP = "erc.heads"
HEADS = {
    "attention": "erc_fusion.heads.attention:AttentionHead",
    "gated": "erc_fusion.heads.gated:GatedHead",
    "late": "erc_fusion.heads.late:LateHead",
    "linear": "erc_fusion.heads.linear:LinearHead",
    "lowrank": "erc_fusion.heads.lowrank:LowRankHead",
    "mlp": "erc_fusion.heads.mlp:MlpHead",
    "triplet": "erc_fusion.heads.triplet:TripletHead",
}


def head_table() -> dict[str, str]:
    """Name -> "module:class" of every head, plug-ins included.

    Raises:
        ErcError: two heads have one name.
    """
    table = dict(HEADS)
    for point in entry_points(group=GROUP):
        if table.setdefault(point.name, point.value) != point.value:
            raise ErcError(
                f"Two heads are called {point.name!r}: {table[point.name]} and {point.value}. "
                "Rename or uninstall the plug-in."
            )
    return table


def load_head(name: str) -> "type[Head]":
    """The class of a head.

    Raises:
        ErcError: unknown (names the choices), or its module can't be imported.
    """
    table = head_table()
    module, _, attribute = table[choose("head", name, table)].partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ErcError(f"Head {name!r} cannot be loaded from {table[name]}: {error}.") from error
