"""The hyperparameters of MACE."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class MACESize:
    """Hyperparameters of MACE that determine the shapes of its weights.

    Args:
        channels: number of channels of each degree.
        hidden_degree: highest degree of the features between interactions.
        l_max: highest degree of the harmonics and messages.
        correlation: correlation order of the products of messages, 1 to 3.
        num_interactions: number of interactions.
        num_bessel: number of radial Bessel functions.
        radial_mlp: widths of the radial network's hidden layers.
        readout_width: width of the last readout's hidden layer.
        envelope_exponent: exponent p of the cutoff polynomial.
    """

    channels: int = 64
    hidden_degree: int = 1
    l_max: int = 3
    correlation: int = 3
    num_interactions: int = 2
    num_bessel: int = 8
    radial_mlp: tuple[int, ...] = (64, 64, 64)
    readout_width: int = 16
    envelope_exponent: int = 6

    def __post_init__(self):
        counts = ("channels", "l_max", "correlation", "num_interactions", "num_bessel")
        for field in (*counts, "readout_width", "envelope_exponent"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"`{field}` must be at least 1, got {getattr(self, field)}."
                )
        if min(self.radial_mlp, default=1) < 1:
            raise ValueError(
                f"`radial_mlp` widths must be at least 1, got {self.radial_mlp}."
            )
        # Number of entries per polynomial in the tables of the symmetric basis.
        if (self.l_max + 1) ** (2 * self.correlation) > 2e5 or self.l_max > 11:
            raise ValueError(
                f"`l_max` = {self.l_max} with `correlation` = {self.correlation} needs "
                "too large tables: `l_max` is at most 11 with `correlation` 1 or 2, "
                "and 6 with 3."
            )
        if not 0 <= self.hidden_degree <= self.l_max:
            raise ValueError(
                f"`hidden_degree` must be between 0 and l_max = {self.l_max}, got "
                f"{self.hidden_degree}."
            )

    @property
    def widths(self) -> dict[str, int]:
        """Channels of the features at each hook, for which a layer there is built."""
        blocks = {f"block {i}": self.channels for i in range(1, self.num_interactions)}
        final = self.channels * self.num_interactions
        return {"embedding": self.channels, **blocks, "final": final}
