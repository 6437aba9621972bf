"""What is public, and where it lives: read by type checkers, and by ``__init__.py``, which imports it when asked."""

from temperax import plots as plots
from temperax.analysis import diagnostics as diagnostics
from temperax.analysis import learning_coefficient as _learning_coefficient
from temperax.analysis import predict as predict
from temperax.analysis import studies as studies
from temperax.analysis import thermodynamics as thermodynamics
from temperax.analysis import transitions as transitions
from temperax.analysis.learning_coefficient import learning_coefficient as learning_coefficient
from temperax.energies import datasets as datasets
from temperax.energies import likelihoods as likelihoods
from temperax.energies import priors as priors
from temperax.energies.dataset import Dataset as Dataset
from temperax.energies.doors import modules as modules
from temperax.energies.energy import Energy as Energy
from temperax.engine import kernels as kernels
from temperax.engine import ladder as ladder
from temperax.engine import tempering as tempering
from temperax.engine.kernels import HMC as HMC
from temperax.engine.kernels import MAMS as MAMS
from temperax.engine.kernels import MCLMC as MCLMC
from temperax.engine.kernels import NUTS as NUTS
from temperax.engine.kernels import Explorer as Explorer
from temperax.errors import InputError as InputError
from temperax.errors import Interrupted as Interrupted
from temperax.errors import ProcessError as ProcessError
from temperax.errors import StorageError as StorageError
from temperax.estimators import recipes as recipes
from temperax.estimators.tempered import TemperedClassifier as TemperedClassifier
from temperax.estimators.tempered import TemperedRegressor as TemperedRegressor
from temperax.machine.sharding import use_compilation_cache as use_compilation_cache
from temperax.machine.sharding import use_cpu_devices as use_cpu_devices
from temperax.machine.sharding import use_processes as use_processes
from temperax.pages.report import report as report
from temperax.results.carried import energy_of as energy_of
from temperax.results.results import add_log_likelihood as add_log_likelihood
from temperax.samplers import numpyro_kernels as _numpyro_kernels
from temperax.samplers import optimise as optimise
from temperax.samplers import systems as systems
from temperax.samplers.optimise import anneal as anneal
from temperax.samplers.optimise import deep_ensemble as deep_ensemble
from temperax.samplers.optimise import map_estimate as map_estimate
from temperax.samplers.parallel_tempering import parallel_tempering as parallel_tempering
from temperax.samplers.repeating import repeat as repeat
from temperax.samplers.runs import open_run as open_run
from temperax.samplers.sample import sample as sample
from temperax.samplers.smc import smc as smc

numpyro = _numpyro_kernels
singular = _learning_coefficient

__version__: str
