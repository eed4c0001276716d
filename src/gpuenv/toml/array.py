"""The text of a TOML array, taken apart so that items come and go while comments, indents and commas stay."""

import re
from dataclasses import dataclass

from gpuenv.toml.write import quote

__all__ = ["ArrayText", "literal"]

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\])*"|\'[^\']*\''
    r"|#[^\n]*|\n|[ \t\r]+|[\[\]{},]|[^\s\[\]{},#\"']+",
    re.DOTALL,
)


def literal(text: str) -> str:
    """A one-line string, in the quotes that need no escapes where there are such."""
    return f"'{text}'" if '"' in text and "'" not in text and text.isprintable() else quote(text)


@dataclass(slots=True)
class _Item:
    """lead: what stands before the value. after: between value and comma. trail: the rest of its line."""

    lead: str
    value: str
    after: str = ""
    comma: bool = False
    trail: str = ""

    def __str__(self) -> str:
        return f"{self.lead}{self.value}{self.after}{',' if self.comma else ''}{self.trail}"


class ArrayText:
    """An array as text; raises nothing, for the text is known to parse."""

    def __init__(self, text: str) -> None:
        self._items: list[_Item] = []
        self._tail = ""
        self._lines = "\n" in text
        self._take_apart(text.strip()[1:-1])

    def __str__(self) -> str:
        return f"[{''.join(map(str, self._items))}{self._tail}]"

    def insert(self, position: int, value: str) -> None:
        """Put a value (TOML text) before the item at `position`; comments above that item stay with it."""
        item = _Item(self._lead(position), value, comma=position < len(self._items))
        if position == len(self._items):
            item.comma = self._items[-1].comma if self._items else self._lines
            if self._items:
                self._items[-1].comma = True
            elif not self._lines:
                self._tail = ""
        elif position == 0 and not self._lines:
            self._items[0].lead = " "
        self._items.insert(position, item)

    def replace(self, position: int, value: str) -> None:
        """Put another value in an item's place."""
        self._items[position].value = value

    def remove(self, position: int) -> None:
        """Take an item and the comment on its line away; comments on lines of their own stay."""
        item = self._items.pop(position)
        kept = item.lead.rpartition("\n")[0] if "#" in item.lead else ""
        if position < len(self._items):
            following = self._items[position]
            same_line = "\n" not in following.lead
            following.lead = item.lead if same_line and (position == 0 or "\n" in item.lead) else kept + following.lead
            return
        before = kept or (self._items[-1].trail if self._items else "")
        if "#" in before and "\n" not in self._tail:
            kept += "\n"  # or the comment would swallow the bracket
        self._tail = kept + self._tail
        if self._items:
            self._items[-1].comma = item.comma

    def _lead(self, position: int) -> str:
        if self._lines:
            indents = [item.lead.rpartition("\n")[2] for item in self._items if "\n" in item.lead]
            return "\n" + (indents[0] if indents else "    ")
        if position:
            return " "
        return self._items[0].lead if self._items else self._tail

    def _take_apart(self, inner: str) -> None:
        lead, item, depth = "", None, 0
        for piece in _TOKEN.findall(inner):
            blank = piece.isspace() or piece.startswith("#")
            if item is None and blank:
                lead += piece
            elif item is None:
                lead = self._share(lead)
                item, lead = _Item(lead, piece), ""
                self._items.append(item)
                depth = piece in ("[", "{")
            elif depth or not (blank or piece == ","):
                item.value += piece
                depth += (piece in ("[", "{")) - (piece in ("]", "}"))
            elif blank:
                item.after += piece
            else:
                item.comma, item = True, None
        if item is not None:
            item.after, newline, rest = item.after.partition("\n")
            item.after, item.trail, lead = "", item.after, newline + rest
        self._tail = self._share(lead)

    def _share(self, blank: str) -> str:
        """Give a comment on the line of the item before to that item; the rest is returned."""
        line, newline, rest = blank.partition("\n")
        if self._items and self._items[-1].comma and (newline or "#" in line):
            self._items[-1].trail = line
            return newline + rest
        return blank
