"""The shapes of Allegro."""

import dataclasses

from ._products import couplings, degree_of, natural


@dataclasses.dataclass(frozen=True)
class AllegroSize:
    """Hyperparameters of Allegro that fix its shapes.

    Args:
        channels: copies of every irrep of the equivariant features.
        features: their irreps, for example `("1o", "1e")`; at least one of natural
            parity, and all within reach of products with the harmonics. A layer
            carries those that a later scalar can hear: `"1e"` needs three layers.
        l_max: highest degree of the harmonics.
        layers: number of tensor products.
        hidden: width of the scalar latents and of the networks between them.
        depth: hidden layers of these networks.
        two_body: widths of the first network's hidden layers.
        embedding: width of the species embedding.
        bessel: number of radial functions.
        envelope: power p of the cutoff polynomial.
        adapter: channels of long-range layers on edges, and width of the networks
            that bring them there and back.
    """

    channels: int = 64
    features: tuple[str, ...] = ("1o", "1e")
    l_max: int = 2
    layers: int = 2
    hidden: int = 64
    depth: int = 2
    two_body: tuple[int, ...] = (8, 16, 32)
    embedding: int = 64
    bessel: int = 8
    envelope: int = 6
    adapter: int = 12

    def __post_init__(self):
        counts = ("channels", "l_max", "layers", "hidden", "depth", "embedding")
        for field in (*counts, "bessel", "envelope", "adapter"):
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
        if not self.start:
            raise ValueError(
                f"`features` {self.features} have no harmonic up to l_max = "
                f"{self.l_max} among them to start from: add "
                f"{', '.join(map(natural, range(1, self.l_max + 1)))}."
            )
        never = set(self.features) - set(self._reached(len(self.features)))
        if never:
            raise ValueError(
                f"Products of harmonics up to l_max = {self.l_max} never reach "
                f"{sorted(never)} of `features` {self.features}: leave them out."
            )

    @property
    def start(self) -> tuple[str, ...]:
        """Irreps of the first features: harmonics."""
        harmonics = [natural(d) for d in range(self.l_max + 1)]
        return tuple(name for name in self.features if name in harmonics)

    def irreps(self, layer: int) -> tuple[str, ...]:
        """Irreps of the features that a layer receives.

        Those that products have reached by then, and that some product from there on
        still turns into a scalar: with two layers, none but harmonics.
        """
        leads = lambda goals: {
            c for c in self.features if couplings((c,), self.l_max, tuple(goals))
        }
        heard = leads(["0e"])
        for _ in range(self.layers - layer - 1):
            heard |= leads(heard)
        return tuple(c for c in self._reached(layer) if c in heard)

    def _reached(self, products: int) -> tuple[str, ...]:
        """Irreps that some products with harmonics can make of the first features."""
        found = self.start
        for _ in range(products):
            paths = couplings(found, self.l_max, self.features)
            found = tuple(c for c in self.features if c in {p.product for p in paths})
        return found

    @property
    def widths(self) -> dict[str, int]:
        """Channels of the features at every hook: what a layer there is built for."""
        blocks = [f"block {i}" for i in range(1, self.layers)]
        return {"embedding": self.embedding} | dict.fromkeys(
            [*blocks, "final"], self.adapter
        )
