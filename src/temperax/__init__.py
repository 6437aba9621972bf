"""temperax: tempered posteriors of Bayesian neural networks by HMC, NUTS and parallel tempering, on JAX."""

import sys

from temperax import plots
from temperax.analysis import diagnostics, studies, thermodynamics, transitions
from temperax.analysis import learning_coefficient as singular
from temperax.analysis.learning_coefficient import learning_coefficient
from temperax.energies import datasets, likelihoods, priors
from temperax.energies.datasets import Dataset
from temperax.energies.energy import Energy
from temperax.engine import ladder, tempering
from temperax.engine.kernels import HMC, NUTS, Explorer
from temperax.errors import InputError, Interrupted, ProcessError, StorageError
from temperax.machine.sharding import use_compilation_cache, use_cpu_devices, use_processes
from temperax.results import predict
from temperax.results.results import add_log_likelihood
from temperax.samplers import optimise, systems
from temperax.samplers.optimise import anneal, deep_ensemble, map_estimate
from temperax.samplers.parallel_tempering import parallel_tempering
from temperax.samplers.runs import open_run
from temperax.samplers.sample import repeat, sample

__version__ = "0.2.0.dev0"

# A room is also known without its floor: `from temperax.likelihoods import Gaussian` is what a user writes, and what
# results that were pickled before the house had floors ask for.
for _name, _room in list(sys.modules.items()):
    _package, _, _short = _name.partition(".")[2].partition(".")
    if _name.startswith("temperax.") and _short:
        sys.modules.setdefault(f"temperax.{_short}", _room)
sys.modules["temperax.singular"] = singular

__all__ = [
    "HMC",
    "NUTS",
    "Dataset",
    "Energy",
    "Explorer",
    "InputError",
    "Interrupted",
    "ProcessError",
    "StorageError",
    "add_log_likelihood",
    "anneal",
    "datasets",
    "deep_ensemble",
    "diagnostics",
    "ladder",
    "learning_coefficient",
    "likelihoods",
    "map_estimate",
    "open_run",
    "optimise",
    "parallel_tempering",
    "plots",
    "predict",
    "priors",
    "repeat",
    "sample",
    "singular",
    "studies",
    "systems",
    "tempering",
    "thermodynamics",
    "transitions",
    "use_compilation_cache",
    "use_cpu_devices",
    "use_processes",
]
