"""The hyperparameters of Allegro."""

import dataclasses

from .._irreps import degree_of, natural_irrep
from ._products import couplings


@dataclasses.dataclass(frozen=True)
class AllegroSize:
    """Hyperparameters of Allegro that determine the shapes of its weights.

    Args:
        channels: multiplicity of each irrep of the equivariant features.
        features: irreps of the equivariant features, for example `("1o", "1e")`; at
            least one of natural parity, and each a product of harmonics. A layer has
            only those that later scalars depend on: `"1e"` needs three layers.
        l_max: highest degree of the harmonics.
        num_layers: number of tensor products.
        hidden: width of the scalar latents and of the networks between them.
        depth: hidden layers of these networks.
        two_body: widths of the hidden layers of the network for the first latents.
        embedding: width of the species embedding.
        num_bessel: number of radial Bessel functions.
        envelope_exponent: exponent p of the cutoff polynomial.
        adapter: channels of the long-range layers on edges, and width of the networks
            of their `EdgeAdapter`.
    """

    channels: int = 64
    features: tuple[str, ...] = ("1o", "1e")
    l_max: int = 2
    num_layers: int = 2
    hidden: int = 64
    depth: int = 2
    two_body: tuple[int, ...] = (8, 16, 32)
    embedding: int = 64
    num_bessel: int = 8
    envelope_exponent: int = 6
    adapter: int = 12

    def __post_init__(self):
        counts = ("channels", "l_max", "num_layers", "hidden", "depth", "embedding")
        for field in (*counts, "num_bessel", "envelope_exponent", "adapter"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"`{field}` must be at least 1, got {getattr(self, field)}."
                )
        if min(self.two_body, default=1) < 1:
            raise ValueError(
                f"`two_body` widths must be at least 1, got {self.two_body}."
            )
        degrees = [self.l_max, *map(degree_of, self.features)]
        if max(degrees) > 11 or len(set(self.features)) < len(self.features):
            raise ValueError(
                "`l_max` and `features` go up to degree 11, and `features` are "
                f"distinct; got {self.l_max} and {self.features}."
            )
        if not self.harmonics:
            raise ValueError(
                f"`features` {self.features} include no harmonic up to l_max = "
                f"{self.l_max}, which the first features are: add "
                f"{', '.join(map(natural_irrep, range(1, self.l_max + 1)))}."
            )
        unreachable = set(self.features) - set(self._reached(len(self.features)))
        if unreachable:
            raise ValueError(
                f"No product of harmonics up to l_max = {self.l_max} has the irreps "
                f"{sorted(unreachable)} of `features` {self.features}: remove them."
            )

    @property
    def harmonics(self) -> tuple[str, ...]:
        """Irreps of the first equivariant features, which are harmonics."""
        natural = [natural_irrep(d) for d in range(self.l_max + 1)]
        return tuple(name for name in self.features if name in natural)

    def irreps(self, layer: int) -> tuple[str, ...]:
        """Returns the irreps of the equivariant features that a layer reads.

        These are products of the previous layers from which this and the later layers
        can make a scalar: with two layers, only harmonics.

        Args:
            layer: number of the layer, from 0.
        """
        factors_of = lambda products: {
            c for c in self.features if couplings((c,), self.l_max, tuple(products))
        }
        needed = factors_of(["0e"])
        for _ in range(self.num_layers - layer - 1):
            needed |= factors_of(needed)
        return tuple(c for c in self._reached(layer) if c in needed)

    def _reached(self, products: int) -> tuple[str, ...]:
        """Returns the irreps after a number of products with harmonics."""
        reached = self.harmonics
        for _ in range(products):
            paths = couplings(reached, self.l_max, self.features)
            reached = tuple(c for c in self.features if c in {p.product for p in paths})
        return reached

    @property
    def widths(self) -> dict[str, int]:
        """Channels of the features at each hook, for which a layer there is built."""
        blocks = [f"block {i}" for i in range(1, self.num_layers)]
        return {"embedding": self.embedding} | dict.fromkeys(
            [*blocks, "final"], self.adapter
        )
