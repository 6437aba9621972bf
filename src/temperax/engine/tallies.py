"""Running sums over the scans of a round: all that the next round needs to know of it, whatever its length.

Scans are added one after the other in double precision, so that the sums do not depend on the length of blocks or on
interruptions.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from temperax.engine.ladder import lag_one_of_sums


@dataclass
class Tally:
    """What a round of known length saw.

    Attributes
    ----------
    length
        Scans of the round.
    fits
        Whether the target's mean and standard deviation will be asked for.
    sums
        Arrays of the sums so far, by name; they are what a checkpoint keeps.
    """

    length: int
    fits: bool = False
    sums: dict[str, Any] = field(default_factory=dict)

    def add(
        self,
        acceptance: Float[np.ndarray, "scan chain pair"],
        path_energy: Float[np.ndarray, "scan chain temperature"],
        position: Float[np.ndarray, "scan chain parameter"],
        diverging: Bool[np.ndarray, "scan chain temperature"],
    ) -> None:
        """Add some scans.

        Parameters
        ----------
        acceptance
            Swap probabilities.
        path_energy
            V of every slot, in nats.
        position
            Of the target's slot.
        diverging
            Of every slot's trajectories.
        """
        if not self.sums:
            self.sums = self._nothing(acceptance[0], path_energy[0], position[0])
        self.sums["diverging"] = self.sums["diverging"] + diverging.mean(axis=1).sum(axis=0)
        self.sums["infinite"] = self.sums["infinite"] + (~np.isfinite(path_energy)).mean(axis=1).sum(axis=0)
        for accepted, v, theta in zip(acceptance, path_energy.astype(float), position.astype(float), strict=True):
            scan = int(self.sums["scans"])
            self.sums["scans"] = np.int64(scan + 1)
            self.sums["acceptance"] = self.sums["acceptance"] + accepted.astype(float)
            if scan >= self.length // 2:  # the round's beginning still remembers the ladder before it
                self._add_energies(v)
            if self.fits and scan >= self.length // 4:
                for one in theta:
                    self._add_position(one)

    @staticmethod
    def _nothing(accepted: np.ndarray, v: np.ndarray, theta: np.ndarray) -> dict[str, Any]:
        pairs, energies, zeros = np.zeros(accepted.shape), np.zeros(v.shape), np.zeros(theta.shape[1:])
        return {
            "scans": np.int64(0),
            "acceptance": pairs,
            **dict.fromkeys(("diverging", "infinite"), energies[0]),
            "energies": np.int64(0),
            **dict.fromkeys(("first", "last", "sum", "squares", "products"), energies),
            "positions": np.int64(0),
            **dict.fromkeys(("mean", "scatter"), zeros),
        }

    def _add_energies(self, v: np.ndarray) -> None:
        """Energies are counted from the first ones, so that their squares keep their digits."""
        sums = self.sums
        if sums["energies"] == 0:
            sums["first"] = v
        with np.errstate(invalid="ignore"):  # exact draws at β = 0 may have infinite energies
            v = v - sums["first"]
            if sums["energies"] > 0:
                sums["products"] = sums["products"] + v * sums["last"]
            sums["sum"], sums["squares"] = sums["sum"] + v, sums["squares"] + v**2
        sums["last"] = v
        sums["energies"] = np.int64(sums["energies"] + 1)

    def _add_position(self, theta: np.ndarray) -> None:
        """Welford's update."""
        sums = self.sums
        sums["positions"] = np.int64(sums["positions"] + 1)
        change = theta - sums["mean"]
        sums["mean"] = sums["mean"] + change / sums["positions"]
        sums["scatter"] = sums["scatter"] + change * (theta - sums["mean"])

    @property
    def rejection(self) -> Float[np.ndarray, " pair"]:
        """Mean rejection of every pair, over scans and chains."""
        return np.clip(1.0 - (self.sums["acceptance"] / self.sums["scans"]).mean(axis=0), 0.0, 1.0)

    @property
    def diverging(self) -> Float[np.ndarray, " temperature"]:
        """Share of every rung's scans whose trajectories diverged."""
        return self.sums["diverging"] / self.sums["scans"]

    @property
    def infinite(self) -> Float[np.ndarray, " temperature"]:
        """Share of every rung's scans whose path energies were infinite."""
        return self.sums["infinite"] / self.sums["scans"]

    @property
    def lag_one(self) -> Float[np.ndarray, " temperature"]:
        """Correlation of successive path energies over the second half of the round."""
        sums = self.sums
        return lag_one_of_sums(int(sums["energies"]), sums["sum"], sums["squares"], sums["products"], sums["last"])

    @property
    def target(self) -> tuple[Float[np.ndarray, " parameter"], Float[np.ndarray, " parameter"]]:
        """Mean and standard deviation of the target's positions, without the round's first quarter."""
        return self.sums["mean"], np.sqrt(self.sums["scatter"] / self.sums["positions"])
