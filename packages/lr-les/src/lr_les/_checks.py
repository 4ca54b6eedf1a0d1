"""Checks of the numbers that a grid or mesh is made from."""


def check_positive(name: str, meaning: str, value: float) -> None:
    """Raises a ValueError unless the number is positive."""
    if not value > 0:
        raise ValueError(f"`{name}` is a {meaning} and must be positive, got {value}.")


def check_grid_settings(
    sigma: float, tolerance: float, dl: float | None, margin: float
) -> None:
    """Raises a ValueError where a setting of `k_grid` is out of its range."""
    check_positive("sigma", "width", sigma)
    if not 1e-15 <= tolerance <= 0.1:
        raise ValueError(
            f"`tolerance` is a relative error between 1e-15 and 0.1, got {tolerance}."
        )
    if dl is not None:
        check_positive("dl", "wavelength", dl)
    if not margin >= 0:
        raise ValueError(
            f"`margin` is a strain and must not be negative, got {margin}."
        )
