"""Published figures to stand beside: RMSE and log density of a row, in the units of their protocols."""

#: Gal & Ghahramani 2016, as the splits' repository lists them: MC dropout, 50 units, means over all splits.
MC_DROPOUT = {
    "boston": (2.90, -2.40),
    "concrete": (4.82, -2.93),
    "energy": (0.54, -1.21),
    "kin8nm": (0.08, 1.14),
    "naval": (0.005, 4.45),  # printed as 0.00
    "power": (4.01, -2.80),
    "protein": (4.27, -2.87),
    "wine": (0.62, -0.93),
    "yacht": (0.67, -1.25),
}

#: The paper of bde (Microcanonical Langevin ensembles), 10 cores: RMSE and the one-Gaussian score, standardised units;
#: and TabPFN v2 and XGBoost as it lists them.
BDE_PAPER: dict[str, dict[str, tuple[float, float | None]]] = {
    "airfoil": {"bde": (0.1215, 0.9126), "TabPFN v2": (0.136, 0.934)},
    "bike": {"bde": (0.2261, 0.7315), "TabPFN v2": (0.210, 0.686), "XGBoost": (0.214, None)},
}

#: What is asked for on two cores beside bde, and whether it is a bound from above.
BDE_GOALS = {
    "airfoil": {"rmse": (0.14, True), "lppd": (0.83, False)},
    "bike": {"rmse": (0.226, True), "gaussian_lpd": (0.732, False)},
}
