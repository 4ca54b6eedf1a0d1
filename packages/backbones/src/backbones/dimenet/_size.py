"""The hyperparameters of DimeNet++."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class DimeNetSize:
    """Hyperparameters of DimeNet++ that fix its shapes.

    Args:
        channels: width of the messages and of the species embedding.
        radial: number of radial functions.
        spherical: number of degrees of the angular functions.
        blocks: number of interactions.
        down: width of the messages while they are multiplied with angles.
        basis: width that the bases are squeezed through.
        output: width of the readouts.
        before, after: residual layers before and after the skip connection.
        readout: hidden layers of each readout.
        envelope: power p of the cutoff polynomial.
        adapter: channels of long-range layers on edges, and width of the networks
            that bring them there and back.
    """

    channels: int = 128
    radial: int = 6
    spherical: int = 7
    blocks: int = 3
    down: int = 64
    basis: int = 8
    output: int = 256
    before: int = 1
    after: int = 2
    readout: int = 3
    envelope: int = 6
    adapter: int = 32

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(
                    f"`{field.name}` must be at least 1, got "
                    f"{getattr(self, field.name)}."
                )

    @property
    def widths(self) -> dict[str, int]:
        """Channels of the features at every hook: what a layer there is built for."""
        blocks = [f"block {i}" for i in range(1, self.blocks)]
        return {"embedding": self.channels} | dict.fromkeys(
            [*blocks, "final"], self.adapter
        )
