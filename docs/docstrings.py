"""Docstrings as the site shows them: a griffe extension, named in mkdocs.yml.

Ours are for people who read code: an example stands where it helps, without a heading, and
:mod:`…` marks a name as Sphinx has it. Markdown would take the first for a quotation.
"""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:mod|class|func|meth|data|attr):(?=`)")
_SHARED = re.compile(r"^( +\w+), ((?:\w+, )*\w+): ", re.MULTILINE)
_EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?! *\n).*)*", re.MULTILINE)


def as_markdown(docstring: str) -> str:
    """Examples fenced, roles gone; of names that share a line, the first is the entry."""
    fenced = _EXAMPLE.sub(lambda found: f"{found[1]}```pycon\n{found[0]}\n{found[1]}```", docstring)
    return _ROLE.sub("", _SHARED.sub(r"\1: (and \2) ", fenced))


class Docstrings(griffe.Extension):
    """Rewrites each docstring once, when its object has been read."""

    def on_instance(self, *, obj: griffe.Object | griffe.Alias, **_: Any) -> None:
        if not obj.is_alias and obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
