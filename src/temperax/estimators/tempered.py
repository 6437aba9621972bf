"""`TemperedRegressor` and `TemperedClassifier`: scikit-learn's estimators over a tempered posterior."""

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

import jax
import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from temperax.analysis import predict
from temperax.analysis.predict.predicting import Predictor
from temperax.analysis.predict.summaries import ends_of
from temperax.energies.dataset import Dataset
from temperax.energies.energy import Energy
from temperax.energies.likelihoods import Likelihood
from temperax.energies.priors import PriorLike
from temperax.engine.kernels import KernelLike
from temperax.engine.ladder import check_ladder
from temperax.errors import InputError, check_count, check_positive
from temperax.samplers.parallel_tempering import parallel_tempering
from temperax.samplers.sample import sample


class _Tempered(BaseEstimator):
    """What both estimators share."""

    def __init__(
        self,
        hidden: Sequence[int] = (50,),
        activation: str | Callable = "tanh",
        likelihood: Likelihood | None = None,
        prior: PriorLike | None = None,
        temperature: float = 1.0,
        path: str | None = None,
        ladder: bool = False,
        kernel: KernelLike = "auto",
        num_chains: int = 4,
        num_warmup: int = 300,
        num_draws: int = 1000,
        options: dict[str, Any] | None = None,
        random_state: Any = None,
        progress: bool = False,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.likelihood = likelihood
        self.prior = prior
        self.temperature = temperature
        self.path = path
        self.ladder = ladder
        self.kernel = kernel
        self.num_chains = num_chains
        self.num_warmup = num_warmup
        self.num_draws = num_draws
        self.options = options
        self.random_state = random_state
        self.progress = progress

    def _fit(self, x: np.ndarray, y: np.ndarray, **names: Any) -> Self:
        """Sample the posterior of a network on checked arrays."""
        temperature = check_positive("temperature", self.temperature)
        if not isinstance(self.ladder, bool):
            raise InputError("ladder", self.ladder, "is neither True nor False", "give its settings as options")
        sampler = parallel_tempering if self.ladder else sample
        options = {} if self.options is None else self.options
        known = set(inspect.signature(sampler).parameters) - {"key", "energy", "temperature", "coldest"}
        if not isinstance(options, dict) or not set(options) <= known:
            remedy = f"give a dictionary of {', '.join(sorted(known))}"
            raise InputError("options", options, f"are not arguments of {sampler.__name__}", remedy)
        if self.ladder and options.get("ladder") is not None:
            coldest = 1 / check_ladder(options["ladder"])[-1]
            if not np.isclose(coldest, temperature, rtol=1e-5):
                problem = f"is not that of the coldest rung of the ladder in options, {coldest:.4g}"
                raise InputError("temperature", temperature, problem, "give that one, or another ladder")
        inputs = getattr(self, "feature_names_in_", None)
        names["inputs"] = None if inputs is None else [str(name) for name in inputs]
        data = Dataset.from_arrays(x, y, **names)
        self.energy_ = Energy.mlp(data, self.hidden, self.activation, self.likelihood, self.prior)
        key = jax.random.key(int(check_random_state(self.random_state).randint(2**31 - 1)))
        path = self.path or ("likelihood" if self.ladder else "posterior")
        shared: dict[str, Any] = {"path": path, "kernel": self.kernel, "num_chains": self.num_chains}
        shared |= {"num_draws": self.num_draws, "progress": self.progress}
        self._group = "posterior"
        if self.ladder:
            if temperature < 1:  # `posterior` is of T = 1, which is a rung of every ladder that goes below it
                self._group, asked = "tempered_posterior", options.get("keep", "target")
                kept = [] if isinstance(asked, str) else np.atleast_1d(asked).tolist()
                options = options | {"keep": asked if asked == "all" else [*kept, temperature]}
            self.tree_ = parallel_tempering(key, self.energy_, coldest=temperature, **shared | options)
        else:
            shared["num_warmup"] = self.num_warmup
            self.tree_ = sample(key, self.energy_, temperature, **shared | options)
        if self.tree_.attrs["interrupted"]:
            drawn = self.tree_["posterior"].sizes["draw"]
            warnings.warn(f"fit was stopped after {drawn} of its draws, which are kept.", stacklevel=3)
        return self

    def _forget(self) -> None:
        """Drop what an earlier fit has left: one that fails leaves nothing fitted."""
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)

    def _checked(self, x: Any) -> Float[np.ndarray, "row input"]:
        check_is_fitted(self, "tree_")
        return validate_data(self, x, reset=False, dtype=np.float64)

    def _summary(self, x: Any, **options: Any) -> Any:
        found = self._checked(x)
        table = predict.summary(self.tree_, found, self.energy_, **{"intervals": (), "group": self._group} | options)
        if "temperature" not in table.index.names:
            return table
        return table.xs(table.index.get_level_values("temperature").min(), level="temperature")


class TemperedRegressor(RegressorMixin, _Tempered):
    """Regression by a network's tempered posterior.

    Parameters
    ----------
    hidden, activation, likelihood, prior
        Of the network, as in `Energy.mlp`; targets are standardised.
    temperature, path
        What draws are of: T and the path that it is on, as in `temperax.sample`; by default ``"posterior"``, and of a
        ladder ``"likelihood"``, which begins at the prior.
    ladder
        Sample by `temperax.parallel_tempering`, whose coldest rung is ``temperature``, rather than `temperax.sample`.
    kernel, num_chains, num_draws
        As in `temperax.sample`.
    num_warmup
        As there; a ladder's rounds are its warm-up.
    options
        Further arguments of the sampler, ``{"hottest": 8.0}`` of a ladder, say.
    random_state
        A seed, a ``RandomState``, or None.
    progress
        Whether to show bars.

    Attributes
    ----------
    tree_
        The result, which every function of the library reads.
    energy_
        The energy that was sampled.
    n_features_in_, feature_names_in_
        As scikit-learn has them.

    Raises
    ------
    InputError
        (a ``ValueError``) from ``fit``, for what the sampler refuses.

    See Also
    --------
    temperax.TemperedClassifier, temperax.predict.summary, temperax.recipes.tabular

    Examples
    --------
    >>> import numpy as np, temperax as tx
    >>> x = np.linspace(-1, 1, 30)[:, None]
    >>> model = tx.TemperedRegressor(hidden=(5,), num_warmup=50, num_draws=20, random_state=0)
    >>> model.fit(x, x[:, 0] ** 2).predict_interval(x).shape
    (30, 2)
    """

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803 - scikit-learn's name
        """Sample the posterior given inputs (row, input) and targets (row,) or (row, target)."""
        self._forget()
        x, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True, multi_output=True, ensure_min_samples=2)
        counts = self.likelihood is not None and getattr(self.likelihood, "task", "") == "counts"
        self._one_target = np.ndim(y) == 1
        return self._fit(x, y, task="counts" if counts else "regression")

    def predict(self, X: Any, return_std: bool = False) -> Any:  # noqa: N803
        """The predictive mean of every row, and its standard deviation with noise where ``return_std``."""
        table = self._summary(X)
        mean, sd = self._columns(table, "mean"), self._columns(table, "sd")
        return (mean, sd) if return_std else mean

    def predict_interval(self, X: Any, level: float = 0.9) -> Float[np.ndarray, "row 2 *target"]:  # noqa: N803
        """The equal-tailed interval, with noise, that holds a new target with probability ``level``."""
        table = self._summary(X, intervals=(level,))
        return np.stack([self._columns(table, name) for name in ends_of(float(level))], axis=1)

    def sample_y(self, X: Any, n_samples: int = 1, random_state: Any = 0) -> np.ndarray:  # noqa: N803
        """Targets drawn from the predictive distribution, with noise: (row, sample) or (row, target, sample)."""
        check_count("n_samples", n_samples)
        found = self._checked(X)
        generator = check_random_state(random_state)
        key = jax.random.key(int(generator.randint(2**31 - 1)))
        source = Predictor(self.tree_, self.energy_, self._group, key)
        repeats = -(-n_samples // source.num_draws)
        drawn = np.concatenate([block.y[:, :, :, -1] for block in source.blocks(found, repeats)], axis=3)
        drawn = drawn.reshape(-1, *drawn.shape[3:])  # (sample, row, target)
        chosen = drawn[generator.permutation(len(drawn))[:n_samples]]
        return np.moveaxis(chosen[..., 0] if self._one_target else chosen, 0, -1)

    def _columns(self, table: Any, name: str) -> np.ndarray:
        """A column of one target, or those of all."""
        values = table[name] if table.columns.nlevels == 1 else table.xs(name, axis=1, level=1)
        found = values.to_numpy()
        return found if self._one_target or found.ndim == 2 else found[:, None]

    def __sklearn_tags__(self) -> Any:
        """Several targets are fine."""
        tags = super().__sklearn_tags__()
        tags.target_tags.single_output = False
        tags.target_tags.multi_output = True
        return tags


class TemperedClassifier(ClassifierMixin, _Tempered):
    """Classification by a network's tempered posterior.

    Parameters
    ----------
    hidden, activation, likelihood, prior, temperature, path, ladder, kernel, num_chains, num_warmup, num_draws, options
        As in `TemperedRegressor`.
    random_state, progress
        As there.

    Attributes
    ----------
    classes_
        The labels, sorted.
    tree_, energy_, n_features_in_, feature_names_in_
        As there.

    See Also
    --------
    temperax.TemperedRegressor

    Examples
    --------
    >>> import numpy as np, temperax as tx
    >>> x = np.linspace(-1, 1, 30)[:, None]
    >>> model = tx.TemperedClassifier(hidden=(5,), num_warmup=50, num_draws=20, random_state=0)
    >>> model.fit(x, np.where(x[:, 0] > 0, "up", "down")).predict([[-0.9]]).tolist()
    ['down']
    """

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803 - scikit-learn's name
        """Sample the posterior given inputs (row, input) and labels (row,)."""
        self._forget()
        x, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError("y", self.classes_, "has one class only", "give labels of two classes at least")
        asked = getattr(self.likelihood, "num_classes", None)
        if asked not in (None, len(self.classes_)):
            problem = f"is not the number of labels in y, {len(self.classes_)}"
            raise InputError("num_classes", asked, problem, "leave it out")
        names = [str(label) for label in self.classes_.tolist()]
        names = names if len(set(names)) == len(names) else [str(i) for i in range(len(names))]
        return self._fit(x, np.array(names, object)[codes], task="classification", classes=names)

    def predict_proba(self, X: Any) -> Float[np.ndarray, "row class"]:  # noqa: N803
        """Predictive probabilities of the classes, in the order of ``classes_``."""
        table = self._summary(X)
        found = table.filter(regex=r"^p\(").to_numpy()
        return found / found.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """The most probable label of every row."""
        check_is_fitted(self, "tree_")
        return self.classes_[self.predict_proba(X).argmax(axis=1)]
