"""The report's page, read back."""

import re
from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Tags with attributes, the tree's balance, and the cells of each table."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text += data
        if self.open and ("td" in self.open or "th" in self.open):
            self.tables[-1][-1][-1] += data

    def table(self, corner: str) -> list[list[str]]:
        """The first table whose first cell says that."""
        return next(lines for lines in self.tables if lines[0][0] == corner)

    def pictures(self) -> list[str]:
        """What each picture is called."""
        return [attrs["aria-label"] or "" for tag, attrs in self.tags if tag == "svg"]

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def asks_nobody(text: str, page: Page) -> bool:
    """Whether the page fetches nothing and runs nothing."""
    for tag, attrs in page.tags:
        if tag in ("script", "link", "iframe", "object", "embed", "form", "base"):
            return False
        if any(name.startswith("on") or name in ("srcset", "action") for name in attrs):
            return False
        if not (attrs.get("href") or "#").startswith("#"):
            return False
        if not (attrs.get("src") or "data:").startswith("data:"):
            return False
    if any(not found.startswith("#") for found in re.findall(r"url\(([^)]*)\)", text)):
        return False
    return not re.search(r"https?://|@import|javascript:", text)
