"""Arguments that several samplers share, described once and shown by ``help`` in each of them."""

import inspect
import textwrap
from collections.abc import Callable

#: Descriptions by the line that names the arguments in a docstring.
DESCRIPTIONS = {
    "key": "A JAX random key; the same key gives the same draws.",
    "energy": "What to sample.",
    "thin": "Scans a draw.",
    "start": """
        ``"optimum"``: every chain from an optimum of its own (`temperax.optimise.minimise`), a network's stopped early
        on held-out training rows, above the energies of its posterior; ``"trained"``: a network's trained on all rows
        to the end of a schedule, below them; ``"both"``: half of the chains each, so that diagnostics can say whether
        the two sides have met; ``"prior"``: dispersed draws; or positions (chain, parameter).  What has no finite
        energy and gradient is drawn again, or refused if it was given.""",
    "log_likelihood": """
        Whether to keep the log likelihood of every training row at every kept temperature, and targets drawn for them,
        as ``az.loo``, ``az.compare`` and posterior predictive checks read them; by default of every draw up to 20 000
        rows (times temperatures), of every second up to 40 000, ….  `add_log_likelihood` gives all of them later.""",
    "storage": """
        ``"float32"``, or ``"float16"`` to store weights in half the space; predictions and energies keep their
        digits.""",
    "batch_size": """
        Replicas that a device advances at once, 0 for all: by default 1 on a processor, on an accelerator as many as
        its memory has room for.""",
    "row_devices": "Devices that share the rows of each replica; the replicas are shared out over the others.",
    "directory, resume, save_every": """
        A directory to save the run in, every so many seconds.  With ``resume`` a run that is there goes on where its
        newest checkpoint stands, bit for bit as if it had never stopped, also for more draws; draws are then not held
        in memory, and the result is read from the directory as its values are asked for.""",
    "progress": "Show a progress bar.",
    "InputError": """
        For bad arguments, before anything is compiled; for a directory that holds another run; and if no replica has a
        finite energy.""",
    "StorageError": "If the directory cannot be written; what was saved before is safe.",
    "Interrupted": "If the run is stopped before its first draw.",
    "ProcessError": "If another process of the job is lost.",
}


def described[F: Callable](function: F) -> F:
    """Give the arguments and errors that a docstring names without a word their descriptions of `DESCRIPTIONS`."""
    if function.__doc__ is None:  # python -OO
        return function
    lines = inspect.cleandoc(function.__doc__).splitlines()
    whole: list[str] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        whole.append(line)
        if line in DESCRIPTIONS and not following.startswith(" "):
            whole += textwrap.indent(inspect.cleandoc(DESCRIPTIONS[line]), "    ").splitlines()
    function.__doc__ = "\n".join(whole)
    return function
