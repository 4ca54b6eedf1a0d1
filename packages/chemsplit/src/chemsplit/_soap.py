"""SOAP power spectra averaged over the atoms of a structure."""

import functools
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.sparse import csr_matrix

from ._describe import describe
from ._geometry import Geometry

if TYPE_CHECKING:
    from ase import Atoms

# DScribe's name of each compression.
_MODES = {"off": "off", "same-element": "crossover", "crossover": "crossover"}


@dataclass(frozen=True)
class MeanSoap:
    r"""SOAP power spectrum averaged over the atoms of a structure.

    The power spectrum of atom :math:`i` is
    :math:`p^{ZZ'}_{nn'l} \sim \sum_m c^{iZ*}_{nlm} c^{iZ'}_{n'lm}`, with the density
    around it expanded in spherical Gaussian-type orbitals. The descriptor is its mean
    over :math:`i` (DScribe's ``average="outer"``).

    Parameters
    ----------
    r_cut : float, default=4.0
        Cutoff, Å.
    n_max, l_max : int, default=9
        Number of radial functions and largest angular degree.
    sigma : float, default=0.1
        Width of the Gaussian on each atom, Å.
    compression : {"off", "same-element", "crossover"}, default="off"
        "off" includes all pairs of elements (``crossover=True`` in DScribe before
        version 2). "same-element" includes only the pairs of an element with itself;
        "crossover" is DScribe 2's name for the same.

    References
    ----------
    Bartók, Kondor and Csányi, Phys. Rev. B 87, 184115 (2013).
    Himanen et al., Comput. Phys. Commun. 247, 106949 (2020).
    """

    r_cut: float = 4.0
    n_max: int = 9
    l_max: int = 9
    sigma: float = 0.1
    compression: Literal["off", "same-element", "crossover"] = "off"

    def __post_init__(self):
        if self.compression not in _MODES:
            raise ValueError(
                f"`compression` must be one of {', '.join(map(repr, _MODES))}, "
                f"got {self.compression!r}."
            )

    @property
    def columns(self) -> tuple[int, int]:
        """Number of columns for one element, and for a pair of different elements."""
        same = self.n_max * (self.n_max + 1) // 2 * (self.l_max + 1)
        other = self.n_max**2 * (self.l_max + 1)
        return same, other if _MODES[self.compression] == "off" else 0

    def row(self, geometry: Geometry) -> np.ndarray:
        """Return the mean power spectrum for a structure's own elements."""
        soap = _dscribe_soap(self, geometry.elements, geometry.cell is not None)
        return soap.create(geometry.to_ase())


@functools.lru_cache(maxsize=64)
def _dscribe_soap(settings: MeanSoap, elements: tuple[int, ...], periodic: bool) -> Any:
    """Return DScribe's SOAP for a set of elements, cached per process."""
    with warnings.catch_warnings():
        # DScribe 2.1 has invalid escapes in docstrings, so Python warns on every import
        # if bytecode is not written.
        warnings.simplefilter("ignore", SyntaxWarning)
        from dscribe.descriptors import SOAP

    return SOAP(
        species=elements,
        r_cut=settings.r_cut,
        n_max=settings.n_max,
        l_max=settings.l_max,
        sigma=settings.sigma,
        average="outer",
        periodic=periodic,
        compression={"mode": _MODES[settings.compression], "species_weighting": None},
    )


def mean_soap(
    structures: "Iterable[Atoms]",
    *,
    r_cut: float = 4.0,
    n_max: int = 9,
    l_max: int = 9,
    sigma: float = 0.1,
    compression: Literal["off", "same-element", "crossover"] = "off",
    **options: Any,
) -> csr_matrix:
    """Compute the `MeanSoap` descriptor of each structure.

    A shorthand for `describe` with `MeanSoap`.

    Parameters
    ----------
    structures : iterable of ase.Atoms
        Structures, in the order of the rows.
    r_cut, n_max, l_max, sigma, compression
        Settings of the descriptor, as in `MeanSoap`.
    **options
        Options of `describe`: `species`, `periodic`, `n_jobs`, `progress` and `store`.

    Returns
    -------
    scipy.sparse.csr_matrix of shape (n_structures, n_features), float32
        Descriptors, with columns ordered by pairs of elements, sorted by atomic number.

    Examples
    --------
    >>> from ase import Atoms
    >>> water = Atoms("OH2", [[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])
    >>> mean_soap([water, water[:1]], n_max=2, l_max=1).shape
    (2, 20)
    """
    descriptor = MeanSoap(r_cut, n_max, l_max, sigma, compression)
    return describe(structures, descriptor, **options)
