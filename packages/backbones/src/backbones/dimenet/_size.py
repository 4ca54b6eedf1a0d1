"""The hyperparameters of DimeNet++."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class DimeNetSize:
    """Hyperparameters of DimeNet++ that determine the shapes of its weights.

    They have the names of `DimeNetPlusPlus` in torch_geometric.

    Args:
        channels: width of the messages and of the species embedding.
        num_radial: number of radial basis functions.
        num_spherical: number of spherical harmonics, of degree 0 to this minus 1.
        num_blocks: number of interactions.
        int_emb_size: width of the messages that are multiplied with the angular basis.
        basis_emb_size: width between the two linear maps of each basis.
        out_emb_channels: width of the readouts.
        num_before_skip: residual layers before the skip connection.
        num_after_skip: residual layers after it.
        num_output_layers: hidden layers of each readout.
        envelope_exponent: exponent p of the cutoff polynomial.
        adapter: channels of the long-range layers on edges, and width of the networks
            of their `EdgeAdapter`.
    """

    channels: int = 128
    num_radial: int = 6
    num_spherical: int = 7
    num_blocks: int = 3
    int_emb_size: int = 64
    basis_emb_size: int = 8
    out_emb_channels: int = 256
    num_before_skip: int = 1
    num_after_skip: int = 2
    num_output_layers: int = 3
    envelope_exponent: int = 6
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
        """Channels of the features at each hook, for which a layer there is built."""
        blocks = [f"block {i}" for i in range(1, self.num_blocks)]
        return {"embedding": self.channels} | dict.fromkeys(
            [*blocks, "final"], self.adapter
        )
