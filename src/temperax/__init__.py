"""temperax: tempered posteriors of Bayesian neural networks by HMC, NUTS and parallel tempering, on JAX."""

from temperax import (
    datasets,
    diagnostics,
    ladder,
    likelihoods,
    optimise,
    plots,
    predict,
    priors,
    singular,
    studies,
    systems,
    tempering,
    thermodynamics,
    transitions,
)
from temperax.datasets import Dataset
from temperax.energy import Energy
from temperax.errors import InputError, Interrupted, ProcessError, StorageError
from temperax.kernels import HMC, NUTS, Explorer
from temperax.optimise import anneal, deep_ensemble, map_estimate
from temperax.results import add_log_likelihood
from temperax.rounds import parallel_tempering
from temperax.runs import open_run
from temperax.sampling import repeat, sample
from temperax.sharding import use_compilation_cache, use_cpu_devices, use_processes
from temperax.singular import learning_coefficient

__version__ = "0.1.0"

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
