"""What `erc tune` searches over."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from erc_features.errors import ErcError, choose
from erc_fusion.config.config import CLASS_WEIGHTS
from erc_fusion.inputs.sources import Source

if TYPE_CHECKING:
    import optuna

HEADS = ("linear", "mlp", "late", "gated", "attention", "lowrank")
CONTEXTS = ("none", "gru", "transformer")
LOSSES = ("cross-entropy", "focal", "dice")
CONTRASTS = ("none", "triplet", "supcon")
LAYERS = ("all", "last", "-4:")


@dataclass(frozen=True)
class Space:
    """What is searched over; where there is one choice, it is fixed."""

    heads: tuple[str, ...] = HEADS
    contexts: tuple[str, ...] = CONTEXTS
    losses: tuple[str, ...] = LOSSES
    contrasts: tuple[str, ...] = CONTRASTS
    layers: tuple[str, ...] = LAYERS
    widths: tuple[int, ...] = (64, 128, 256, 512)

    @classmethod
    def of(cls, *choices: tuple[str, ...] | None) -> "Space":
        """The default space, its heads, contexts, losses and contrasts replaced unless None."""
        given = zip(("heads", "contexts", "losses", "contrasts"), choices, strict=True)
        return replace(cls(), **{name: chosen for name, chosen in given if chosen})

    def ask(
        self, trial: "optuna.Trial", sources: Sequence[Source], *, classes: bool = True
    ) -> dict[str, Any]:
        """The settings of a trial, by their names in the configuration.

        Without `classes`, where a set of labels or numbers are predicted, no losses are tried.
        """
        pick = trial.suggest_categorical
        head = str(pick("head", self.heads))
        found: dict[str, Any] = {
            "head": head,
            "context": pick("context", self.contexts),
            **({"loss": pick("loss", self.losses),
                "class_weights": pick("class_weights", CLASS_WEIGHTS)} if classes else {}),
            "width": pick("width", self.widths),
            "dropout": trial.suggest_float("dropout", 0.0, 0.7),
            "lr": trial.suggest_float("lr", 1e-4, 5e-3, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 1e-4, 1.0, log=True),
            **({"label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2)}
               if classes else {}),
            "average": pick("average", (0.0, 0.99)),
            "schedule": pick("schedule", ("constant", "cosine")),
        }  # fmt: skip
        if any(source.shape[1] > 1 for source in sources):
            found["layers"] = pick("layers", self.layers)
        if len(sources) > 1:
            found["modality_dropout"] = trial.suggest_float("modality_dropout", 0.0, 0.4)
        if found.get("loss") == "focal":
            found["gamma"] = trial.suggest_float("gamma", 0.5, 4.0)
        if not classes:
            return found | self._who(trial, found)
        contrasts = tuple(c for c in self.contrasts if not (head == "triplet" and c == "none"))
        name = "contrastive" if contrasts == self.contrasts else "contrastive of triplet"
        found["contrastive"] = pick(name, contrasts)
        if found["contrastive"] != "none":
            found["contrastive_weight"] = trial.suggest_float("contrastive_weight", 0.1, 1.0)
        return found | self._who(trial, found)

    @staticmethod
    def _who(trial: "optuna.Trial", found: dict[str, Any]) -> dict[str, Any]:
        if found["context"] == "none":
            return {}
        return {"speakers": trial.suggest_categorical("speakers", (True, False))}

    def must_fit_without_classes(self, target: str) -> None:
        """Raises ErcError where something is to be tried that only classes have."""
        asked = {
            "--losses": self.losses != LOSSES,
            "--contrasts": not {*self.contrasts} <= {"none"} and self.contrasts != CONTRASTS,
            "--heads triplet": "triplet" in self.heads,
        }
        if wrong := [name for name, there in asked.items() if there]:
            raise ErcError(
                f"{' and '.join(wrong)}: only classes have that, and --target {target} has none. "
                "Leave it out; its loss is that of --config."
            )

    def check(self) -> None:
        """Raises ErcError where a choice is unknown, or there is none."""
        from erc_fusion.model.context import CONTEXTS as contexts
        from erc_fusion.model.heads import head_table
        from erc_fusion.training.losses import CONTRASTS as contrasts
        from erc_fusion.training.losses import LOSSES as losses

        for what, chosen, known in (
            ("head", self.heads, head_table()),
            ("context", self.contexts, contexts),
            ("loss", self.losses, losses),
            ("contrastive loss", self.contrasts, contrasts),
        ):
            if not chosen:
                raise ErcError(f"Nothing to search over: no {what} is given.")
            for name in chosen:
                choose(what, name, known)
        if "triplet" in self.heads and set(self.contrasts) == {"none"}:
            raise ErcError(
                "Head 'triplet' is made for a contrastive loss; give it triplet or supcon to try."
            )
