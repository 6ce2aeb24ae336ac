"""What `erc compare` prints."""

from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from erc_features.terminal import show, table
from erc_fusion.cli.printing import figure_of
from erc_fusion.report import Changed, Difference
from erc_fusion.runs.scores import NAMES, number, unit


def show_difference(found: Difference, most: int) -> None:
    """What `erc compare` prints: settings, scores with their paired test, and changed rows."""
    one, other = found.first, found.second
    if found.settings:
        rows = [(name, *map(_value, values)) for name, values in found.settings.items()]
        table(("setting", one.name, other.name), rows)
    else:
        show("No setting differs: only the seeds' own noise, or what the files held, can.")
    of = [row.split(found.split) for row in (one, other)]
    rows = []
    for name in found.comparison.scores:
        stats = [result.known(name) if result else None for result in of]
        test = found.pair.tests.get(name) if found.pair else None
        sign = "+" if test and test.difference > 0 else ""
        paired = (
            f"{sign}{number(name, test.difference)} [{number(name, test.low)}, "
            f"{number(name, test.high)}]" if test else "",
            _p(test.p) if test else "",
        )  # fmt: skip
        figures = [figure_of(name, asdict(stat) if stat else None) for stat in stats]
        rows.append((NAMES[name] + unit(name), *figures, *paired))
    table((found.split, one.name, other.name, "difference [95% interval]", "p"), rows)
    if not found.rows:
        return
    show(f"Of {found.rows:,} rows the ensembles of both predict, they differ on "
         f"{len(found.changed):,}: {found.mended:,} that only {other.name} has right, "
         f"{found.broken:,} that only {one.name} has.")  # fmt: skip
    if found.changed and most:
        table(
            ("row", "speaker", "text", "label", one.name, other.name),
            [(row.key, row.speaker, row.text, row.label, f"{row.first} {row.confidence[0]:.0%}",
              f"{row.second} {row.confidence[1]:.0%}") for row in _spread(found, most)],
        )  # fmt: skip


def _spread(found: Difference, most: int) -> list[Changed]:
    """Of the changed rows, the surest of those mended, broken, and the others, as equally many as
    there are."""
    kinds: dict[str, list[Changed]] = {"mended": [], "broken": [], "other": []}
    for row in found.changed:
        kind = "mended" if row.second == row.label else "other"
        kinds["broken" if row.first == row.label else kind].append(row)
    groups = [group for group in kinds.values() if group]
    shown = [row for turn in zip_longest(*groups) for row in turn if row is not None][:most]
    return [row for row in found.changed if row in shown]


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _value(value: Any) -> str:
    """As TOML has it, nearly; a dash where a run has no such setting."""
    return "–" if value is None else str(value)
