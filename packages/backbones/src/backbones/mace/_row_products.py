"""Products of small matrices, one for each row of edges.

They are contractions over the edges (e), messages (m) or channels (c) of rows (r). XLA
computes those over edges or messages on a CPU with a call per row, which takes about
ten times as long as the same sum written out term by term: so there is one primitive
for the three, whose derivatives are again such contractions.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

_ARRAYS = ("rem", "rec", "rmc")
_OVER_EDGES, _OVER_MESSAGES = "rem,rec->rmc", "rem,rmc->rec"


def sum_over_edges(
    coefficients: Float[Array, "rows edges messages"],
    features: Float[Array, "rows edges channels"],
) -> Float[Array, "rows messages channels"]:
    """Returns the sum of the edges' features in each row, with several coefficients.

    Args:
        coefficients: of each edge for each message.
        features: of each edge.
    """
    # Weights in double and positions in single precision give mixed arguments.
    dtype = jnp.result_type(coefficients, features)
    return _contraction.bind(
        coefficients.astype(dtype), features.astype(dtype), subscripts=_OVER_EDGES
    )


_contraction = Primitive("row_contraction")


@_contraction.def_abstract_eval
def _shape(x, y, *, subscripts: str):
    sizes = dict(zip(subscripts[:3] + subscripts[4:7], x.shape + y.shape, strict=True))
    return ShapedArray(tuple(sizes[i] for i in subscripts[-3:]), x.dtype)


@_contraction.def_impl
@partial(jax.jit, static_argnames="subscripts")
def _evaluate(x, y, *, subscripts: str):
    return _contraction.bind(x, y, subscripts=subscripts)


def _product(x, y, *, subscripts: str):
    return jnp.einsum(subscripts, x, y)


def _written_out(x, y, *, subscripts: str):
    if subscripts == _OVER_EDGES:
        terms = [x[:, e, :, None] * y[:, e, None] for e in range(x.shape[1])]
    elif subscripts == _OVER_MESSAGES:
        terms = [x[:, :, m, None] * y[:, None, m] for m in range(x.shape[2])]
    else:
        return _product(x, y, subscripts=subscripts)
    return sum(terms[1:], terms[0])


def _derivative(argument: int) -> Callable[..., Array]:
    """Returns the derivative by the first (0) or second (1) argument.

    It is the contraction of the two other arrays, in the order of `_ARRAYS`.
    """

    def rule(cotangent, *arguments, subscripts: str):
        *names, out = subscripts.replace("->", ",").split(",")
        arrays = {out: cotangent, names[1 - argument]: arguments[1 - argument]}
        first, second = (name for name in _ARRAYS if name in arrays)
        return _contraction.bind(
            arrays[first],
            arrays[second],
            subscripts=f"{first},{second}->{names[argument]}",
        )

    return rule


def _batched(arguments, axes, *, subscripts: str):
    """A batch of rows is more rows."""
    size = next(
        x.shape[axis]
        for x, axis in zip(arguments, axes, strict=True)
        if axis is not None
    )
    x, y = (
        batching.bdim_at_front(a, axis, size)
        for a, axis in zip(arguments, axes, strict=True)
    )
    merge = lambda a: a.reshape(-1, *a.shape[2:])
    out = _contraction.bind(merge(x), merge(y), subscripts=subscripts)
    return out.reshape(size, -1, *out.shape[1:]), 0


ad.defbilinear(_contraction, _derivative(0), _derivative(1))
batching.primitive_batchers[_contraction] = _batched
_lowering = partial(mlir.lower_fun, multiple_results=False)
mlir.register_lowering(_contraction, _lowering(_product))
mlir.register_lowering(_contraction, _lowering(_written_out), platform="cpu")
