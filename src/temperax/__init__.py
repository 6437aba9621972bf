"""temperax: tempered posteriors of Bayesian neural networks by HMC, NUTS and parallel tempering, on JAX."""

__version__ = "0.1.0"
