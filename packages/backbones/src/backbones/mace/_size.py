"""The hyperparameters of MACE."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class MACESize:
    """Hyperparameters of MACE that fix its shapes.

    Args:
        channels: width of every degree.
        hidden_degree: highest degree of the features between interactions.
        l_max: highest degree of harmonics and messages.
        correlation: factors in the product of messages, 1 to 3.
        interactions: how many rounds of message passing.
        bessel: number of radial functions.
        radial: widths of the radial network's hidden layers.
        readout: width of the last readout's hidden layer.
        envelope: power p of the cutoff polynomial.
    """

    channels: int = 64
    hidden_degree: int = 1
    l_max: int = 3
    correlation: int = 3
    interactions: int = 2
    bessel: int = 8
    radial: tuple[int, ...] = (64, 64, 64)
    readout: int = 16
    envelope: int = 6

    def __post_init__(self):
        counts = ("channels", "l_max", "correlation", "interactions", "bessel")
        for field in (*counts, "readout", "envelope"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"`{field}` must be at least 1, got {getattr(self, field)}."
                )
        if min(self.radial, default=1) < 1:
            raise ValueError(f"`radial` widths must be at least 1, got {self.radial}.")
        # Tables of the products hold this many numbers for each polynomial.
        if (self.l_max + 1) ** (2 * self.correlation) > 2e5 or self.l_max > 11:
            raise ValueError(
                f"`l_max` = {self.l_max} with `correlation` = {self.correlation} needs "
                "tables too large to make: the most are 11 with 1 or 2, 6 with 3."
            )
        if not 0 <= self.hidden_degree <= self.l_max:
            raise ValueError(
                f"`hidden_degree` lies between 0 and l_max = {self.l_max}, got "
                f"{self.hidden_degree}."
            )

    @property
    def widths(self) -> dict[str, int]:
        """Channels of the features at every hook: what a layer there is built for."""
        blocks = {f"block {i}": self.channels for i in range(1, self.interactions)}
        final = self.channels * self.interactions
        return {"embedding": self.channels, **blocks, "final": final}
