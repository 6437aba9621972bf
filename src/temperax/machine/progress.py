"""Progress bars: tqdm's, in a terminal or in a notebook."""

import warnings

with warnings.catch_warnings():
    # In a notebook without ipywidgets tqdm warns and falls back to text, which is all that is wanted.
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm

__all__ = ["tqdm"]
