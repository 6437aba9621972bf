"""Progress bars: tqdm's, in a terminal or in a notebook."""

import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

with warnings.catch_warnings():
    # In a notebook without ipywidgets tqdm warns and falls back to text, which is all that is wanted.
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm

__all__ = ["patiently", "say", "tqdm", "waiting"]


@contextmanager
def waiting(doing: str, show: bool) -> Iterator[None]:
    """A bar of what takes a while, mostly to compile, and cannot tell how far it is."""
    with tqdm(total=None, desc=doing, bar_format="{desc}: {elapsed}{postfix}", disable=not show) as bar:
        bar.set_postfix_str("compiling …")
        yield


def patiently[T](items: Iterable[T], doing: str) -> Iterable[T]:
    """Items behind a bar that is shown only where they take longer than two seconds."""
    return tqdm(items, desc=doing, delay=2.0, leave=False)


def say(sentence: str) -> None:
    """A sentence where the bars are, without tearing them."""
    tqdm.write(sentence, file=sys.stderr)
