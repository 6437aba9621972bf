"""What a page is made of: sections of sentences, tables, pictures and code."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pandas as pd


class Block:
    """What stands below a heading; its ``kind`` says how the page shows it."""

    kind: ClassVar[str]


@dataclass(frozen=True)
class Text(Block):
    """Sentences, one below the other."""

    sentences: Sequence[str]
    kind = "text"


@dataclass(frozen=True)
class Table(Block):
    """A table, folded away behind its caption where it is long.

    Attributes
    ----------
    caption
        What it shows.
    frame
        Its columns in order; the index is left out.
    folded
        Whether it is opened only when it is asked for.
    """

    caption: str
    frame: pd.DataFrame
    folded: bool = False
    kind = "table"

    @cached_property
    def columns(self) -> list[tuple[str, str]]:
        """Name and class of every column: ``number`` or ``word``."""
        return [(str(c), "number" if self.frame[c].dtype.kind in "iufb" else "word") for c in self.frame]

    @property
    def rows(self) -> list[list[str]]:
        """The cells as they are shown."""
        return [[shown(value) for value in row] for row in self.frame.itertuples(index=False)]


@dataclass(frozen=True)
class Picture:
    """A picture as SVG, with what it shows and how to read it."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Pictures(Block):
    """Pictures, side by side where there is room."""

    pictures: Sequence[Picture]
    kind = "pictures"


@dataclass(frozen=True)
class Code(Block):
    """Python or shell, to be copied."""

    text: str
    kind = "code"


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """What a link to it names."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


def shown(value: Any) -> str:
    """A value as it stands in a table: four digits, and a dash where there is none."""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{int(value):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if isinstance(value, (float, np.floating)):
        value = float(value)
        if np.isnan(value):
            return "\N{EN DASH}"
        if np.isinf(value):
            return "\N{INFINITY}" if value > 0 else "-\N{INFINITY}"
        return f"{int(value)}" if value.is_integer() and abs(value) < 1e6 else f"{value:.4g}"
    return str(value)


def temperature_text(temperature: float) -> str:
    """Of a sentence: ``T = 0.3``."""
    return f"T = {shown(float(f'{temperature:.3g}'))}"


def spread(values: Any) -> str:
    """From the least to the largest of some numbers."""
    finite = np.asarray(values, float)[np.isfinite(np.asarray(values, float))]
    return f"from {finite.min():.3g} to {finite.max():.3g}" if len(finite) else "nowhere finite"
