"""The ways to an `Energy`: of a multilayer perceptron, of any network, of a NumPyro model, of a density."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from numpyro.distributions.constraints import Constraint

from temperax.energies.dataset import Dataset
from temperax.energies.likelihoods import Likelihood
from temperax.energies.models import NetworkModel, check_outputs, complete, takes
from temperax.energies.networks import MLP
from temperax.energies.path_priors import tree_prior
from temperax.energies.priors import PriorLike, network_prior
from temperax.errors import InputError, all_at_once, check_callable


class Made:
    """What makes energies; a door to models from elsewhere is imported when it is called."""

    dataset: Dataset | None
    arguments: dict[str, Any] | None
    _assemble: Callable

    @classmethod
    def mlp(
        cls,
        data: Dataset,
        hidden: Sequence[int] = (50,),
        activation: str | Callable = "tanh",
        likelihood: Likelihood | None = None,
        prior: PriorLike | None = None,
    ) -> Self:
        """Energy of a multilayer perceptron on a data set's training rows.

        Parameters
        ----------
        data
            From `temperax.datasets`; the held-out rows come along for predictions.
        hidden
            Widths of the hidden layers; ``()`` is a generalised linear model.
        activation
            A name such as ``"tanh"`` or any elementwise function.
        likelihood
            From `temperax.likelihoods`; by default `likelihoods.default` of the data set's task.
        prior
            From `temperax.priors`, a scalar NumPyro distribution, or a mapping from ``layer_0``, …, ``default``;
            by default N(0, 1).

        See Also
        --------
        temperax.Energy.network

        Examples
        --------
        >>> tx.Energy.mlp(data, hidden=(8, 8), activation="relu", prior=tx.priors.FanInNormal()).size
        98
        """
        hidden = hidden.tolist() if hasattr(hidden, "tolist") else hidden  # an array, or a frame's index
        (likelihood, prior), _ = all_at_once(
            lambda: complete(data, likelihood, prior), lambda: MLP.create(1, hidden, 1, activation)
        )
        network = MLP.create(data.x.shape[1], hidden, likelihood.num_outputs(data.y), activation)
        energy = cls._of_network(data, network, likelihood, network_prior(prior, network.sizes))
        energy.arguments = {
            "hidden": hidden,
            "activation": activation,
            "likelihood": likelihood,
            "prior": prior,
        }
        return energy

    @classmethod
    def network(
        cls,
        data: Dataset,
        module: Any,
        parameters: Any = None,
        likelihood: Likelihood | None = None,
        prior: Any = None,
        *,
        input_shape: Sequence[int] | None = None,
    ) -> Self:
        """Energy of any network: a Flax or Equinox module itself, a pair of functions, or one function.

        Parameters
        ----------
        data, likelihood
            As in `mlp`.
        module
            A Flax NNX or Linen module, an Equinox module (of one row), a pair ``(init(key, x), apply(parameters, x))``,
            or ``apply(parameters, x) -> (row, output)`` alone.  Pass the same one again to reuse a compiled program.
            Or, as a string, the import path ``"package.nets:make"`` of one of these or of a function that makes it:
            then a result's file alone is enough for predictions (so it is for Linen modules and functions that can be
            imported; an NNX or Equinox module, or a Linen one that is bound to arrays, has no name of its own).
            What a module does not train stays as it is: batch statistics, and dropout is switched off.
        parameters
            With ``apply`` alone, a pytree of arrays with the shapes of the parameters, as an initialiser returns them.
        prior
            One prior for every array (a scalar NumPyro distribution or a member of `temperax.priors`; fan-ins are
            those of the module); or a mapping from patterns of paths to priors, ``{"*/kernel": Normal(0.3), "*/bias":
            Normal(1.0), "head/*": None}``, where the last that fits decides, and None keeps arrays as the module has
            them; or a pytree of NumPyro distributions in the structure of ``parameters``.
        input_shape
            Of a row as the module takes it, ``(8, 8, 1)`` for an image, say, where that is not flat.

        Raises
        ------
        InputError
            If ``parameters`` are not arrays of real numbers, the prior does not fit them, a pattern fits nothing, or
            the module fails on the inputs or does not return one row of outputs for each of theirs.

        Examples
        --------
        >>> import equinox as eqx, jax, numpy as np, temperax as tx
        >>> data = tx.Dataset.from_arrays(np.linspace(-1, 1, 20)[:, None], np.linspace(-1, 1, 20) ** 2)
        >>> net = eqx.nn.MLP(1, 1, 8, 1, key=jax.random.key(0))
        >>> tx.Energy.network(data, net, prior={"*/weight": tx.priors.FanInNormal(), "*/bias": tx.priors.Normal()}).size
        26
        """
        from temperax.energies.doors.modules import opened

        likelihood, prior = complete(data, likelihood, prior)
        network, values = opened(module, parameters, data, input_shape)
        network, tree = tree_prior(prior, network, values)
        energy = cls._of_network(data, network, likelihood, tree)
        energy.arguments = {
            "module": module,
            "parameters": parameters,
            "likelihood": likelihood,
            "prior": prior,
            "input_shape": input_shape,
        }
        return energy

    @classmethod
    def from_numpyro(cls, model: Callable, *args: Any, **kwargs: Any) -> Self:
        """Energy of a NumPyro model: what it observes (and its factors) is the data, what is latent the parameters.

        Parameters
        ----------
        model
            A function that makes NumPyro's sites.  Pass the same function again, with arguments of the same shapes, to
            reuse a compiled program: what it closes over must stay what it was, and what changes comes as an argument.
            ``param`` sites stay at their initial values.
        *args, **kwargs
            Its arguments, with the observed values among them.

        Returns
        -------
        Energy
            Of which results hold what ``az.from_numpyro`` would: constrained values of latent sites, deterministic
            sites, the names of plates as dimensions.  New arguments give predictions by `temperax.predict.predictive`.
            Discrete latent sites are summed out where funsor is installed; the data energy is one number then.  Flat
            priors (``ImproperUniform``, latent sites that are scaled or masked) leave two paths, ``"posterior"`` and
            ``"reference"``.  Where a latent site with constraints is scaled or masked, its density is, and its
            Jacobian is not; in NumPyro's potential both are.

        Raises
        ------
        InputError
            If the model fails on its arguments, subsamples a plate, keeps a state, observes a site in part or a value
            that is NaN, or has latent sites without a density or an unconstrained form.

        Examples
        --------
        >>> import numpy as np, numpyro, numpyro.distributions as dist, temperax as tx
        >>> def line(x, y=None):
        ...     slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
        ...     with numpyro.plate("row", len(x)):
        ...         numpyro.sample("y", dist.Normal(slope * x, 1.0), obs=y)
        >>> tx.Energy.from_numpyro(line, np.arange(3.0), y=np.ones(3)).names
        ['slope']
        """
        from temperax.energies.doors.programs import opened  # a door is imported when it is called

        energy: Any = object.__new__(cls)
        energy.model, energy.data, energy.observations = opened(model, args, kwargs)
        energy.prior = energy.model
        return energy

    @classmethod
    def from_log_density(
        cls, log_density: Callable, example: Any, constraints: Mapping[str, Constraint] | None = None, data: Any = None
    ) -> Self:
        """Energy of a density that is not apart into prior and likelihood.

        Parameters
        ----------
        log_density
            ``log_density(parameters)`` or ``log_density(parameters, data)``: log of a density of the parameters, in
            nats, up to a constant.
        example
            A pytree of arrays (or numbers) with the shapes of the parameters.
        constraints
            The supports of parameters that are not all real numbers: by name, as a result has it, one of
            ``numpyro.distributions.constraints``.  The parameters are transformed, with the Jacobian.
        data
            A pytree of arrays that may change without compiling.

        Returns
        -------
        Energy
            U0 is the transforms' Jacobian and E = -log density, so that there is no distribution at β = 0, and the
            paths are two: ``"posterior"`` and ``"reference"``.

        Raises
        ------
        InputError
            As `Energy`; and if a constraint is none, or names no parameter.

        See Also
        --------
        temperax.Energy.from_numpyro

        Examples
        --------
        >>> import jax.numpy as jnp, numpyro.distributions as dist, temperax as tx
        >>> energy = tx.Energy.from_log_density(
        ...     lambda p: -p["scale"] - 0.5 * jnp.sum(p["x"] ** 2),
        ...     {"x": jnp.zeros(2), "scale": 1.0},
        ...     {"scale": dist.constraints.positive},
        ... )
        >>> energy.size
        3
        """
        from temperax.energies.doors.log_density import Negative, flat_priors

        check_callable("log_density", log_density, "a function of the parameters")
        if not takes(log_density, 1 if data is None else 2):
            raise InputError("log_density", log_density, "does not take the parameters", "give data if it takes them")
        energy: Any = cls  # which this is a part of
        return energy(Negative(log_density), flat_priors(example, constraints or {}), data)

    @classmethod
    def _of_network(cls, data: Dataset, network: Callable, likelihood: Likelihood, prior: Any) -> Self:
        energy: Any = object.__new__(cls)
        check_outputs(network, prior, data, likelihood)
        tree = {"network": prior, "noise": likelihood.parameters(data.y.shape[1])}
        energy._assemble(NetworkModel(network, likelihood), tree, {"x": data.x, "y": data.y})
        energy.dataset = data
        return energy

    @classmethod
    def of_arguments(cls, data: Dataset, arguments: Mapping[str, Any]) -> Self:
        """The energy of a network from the ``arguments`` that another one was made by, `mlp` or `network`."""
        return (cls.network if "module" in arguments else cls.mlp)(data, **arguments)

    def replace(self, data: Dataset | None = None, **changes: Any) -> Self:
        """The same `mlp` or `network` energy with some of its arguments changed: ``energy.replace(activation="relu")``.

        Raises
        ------
        InputError
            If the energy is not a network's, or a name is not one of its maker's arguments.

        See Also
        --------
        temperax.repeat

        Examples
        --------
        >>> energy.replace(hidden=(20,)).size > energy.size
        True
        """
        if self.arguments is None:
            raise InputError("energy", self, "was not made by Energy.mlp or network", "build the changed energy itself")
        unknown = set(changes) - set(self.arguments)
        if unknown:
            known, made = ", ".join(["data", *self.arguments]), "network" if "module" in self.arguments else "mlp"
            raise InputError("changes", sorted(unknown), f"are not arguments of Energy.{made}", f"use {known}")
        dataset = self.dataset if data is None else data
        assert dataset is not None  # arguments and dataset are set together
        return self.of_arguments(dataset, self.arguments | changes)
