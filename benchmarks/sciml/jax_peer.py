"""`ssbroyden-optimistix` on the same problems: same network, points, start and float64, in JAX.

The derivatives are propagated forward here too, and XLA fuses them, so the peer is not slowed by its residuals.
Importing JAX takes a second; import this module where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.sciml.burgers import BORDER_WEIGHT, VISCOSITY, Burgers
from benchmarks.sciml.convection import SPEED, Convection
from benchmarks.sciml.flat import TracedMeter
from benchmarks.sciml.poisson_2d import Poisson2D
from benchmarks.sciml.problem import Problem
from benchmarks.sciml.zoo import Zoo

CHUNK = 50
PATIENCE = 40
"""Chunks of steps without one accepted before the solver is taken to have stopped."""

Arrays = tuple[Any, ...]
Layers = list[tuple[Any, Any]]


def _values(layers: Layers, x: Any) -> Any:
    for weight, bias in layers[:-1]:
        x = jnp.tanh(x @ weight.T + bias)
    weight, bias = layers[-1]
    return x @ weight.T + bias


def _taylor(layers: Layers, x: Any, direction: Any, order: int) -> tuple[Any, ...]:
    """Values and the derivatives along one direction, up to the order, which is 1 or 2."""
    first, second = jnp.broadcast_to(direction, x.shape), jnp.zeros_like(x)
    for weight, bias in layers[:-1]:
        value = jnp.tanh(x @ weight.T + bias)
        slope = 1 - value**2
        z_first = first @ weight.T
        if order == 2:
            second = -2 * value * slope * z_first**2 + slope * (second @ weight.T)
        x, first = value, slope * z_first
    weight, bias = layers[-1]
    known = (x @ weight.T + bias, first @ weight.T)
    return (*known, second @ weight.T) if order == 2 else known


def _square(residual: Any, weight: float = 1.0) -> Any:
    return weight * jnp.mean(residual**2)


def _zoo(layers: Layers, data: Arrays) -> Any:
    inputs, targets = data
    return _square(_values(layers, inputs) - targets)


def _poisson(layers: Layers, data: Arrays) -> Any:
    inner, force, border = data
    bends = [_taylor(layers, inner, axis, 2)[2] for axis in jnp.eye(2)]
    return _square(sum(bends) + force) + _square(_values(layers, border))


def _convection(layers: Layers, data: Arrays) -> Any:
    inner, start, left, right = data
    along = _taylor(layers, inner, jnp.array([SPEED, 1.0]), 1)[1]
    periodic = _values(layers, left) - _values(layers, right)
    return _square(along) + _square(_values(layers, start) - jnp.sin(start[:, :1])) + _square(periodic)


def _burgers(layers: Layers, data: Arrays) -> Any:
    inner, start, ends = data
    u, u_x, u_xx = _taylor(layers, inner, jnp.array([1.0, 0.0]), 2)
    _, u_t = _taylor(layers, inner, jnp.array([0.0, 1.0]), 1)
    equation = _square(u_t + u * u_x - VISCOSITY * u_xx)
    at_start = _square(_values(layers, start) + jnp.sin(math.pi * start[:, :1]), BORDER_WEIGHT)
    return equation + at_start + _square(_values(layers, ends), BORDER_WEIGHT)


def _of(problem: Problem) -> tuple[Callable[[Layers, Arrays], Any], list[torch.Tensor]]:
    match problem:
        case Zoo():
            return _zoo, list(problem.training)
        case Poisson2D():
            return _poisson, [problem.inner, problem.force, problem.border]
        case Convection():
            return _convection, [problem.inner, problem.start, problem.left, problem.right]
        case Burgers():
            return _burgers, [problem.inner, problem.start, problem.ends]
    raise TypeError(f"{type(problem).__name__} has no JAX form; add one beside the others in jax_peer")


def jax_loss(problem: Problem) -> tuple[Callable[[Any, Arrays], Any], Arrays]:
    """Return the loss as a function of the parameters' vector and of the data, and the data."""
    function, tensors = _of(problem)
    shapes = [tuple(p.shape) for p in problem.module.parameters()]
    ends = np.cumsum([math.prod(shape) for shape in shapes])

    def loss(x: Any, data: Arrays) -> Any:
        pieces = [piece.reshape(shape) for piece, shape in zip(jnp.split(x, ends[:-1]), shapes, strict=True)]
        return function(list(zip(pieces[::2], pieces[1::2], strict=True)), data)

    return loss, tuple(jnp.asarray(tensor.numpy()) for tensor in tensors)


def run_ssbroyden(meter: TracedMeter) -> str:
    """Run `SSBroyden` with its `Zoom` search and zero tolerances, `CHUNK` steps a call so that Python costs nothing.

    Each step is one evaluation with its gradient, by the library's own design. Compilation is not timed. The matrix is
    carried over from leg to leg when points are redrawn.
    """
    import equinox as eqx
    import ssbroyden_optimistix as sso

    loss, data = jax_loss(meter.flat.problem)
    solver = sso.SSBroyden(rtol=0.0, atol=0.0)

    def fn(y: Any, args: Arrays) -> tuple[Any, None]:
        return loss(y, args), None

    y = jnp.asarray(meter.start().numpy())
    state = solver.init(fn, y, data, {}, jax.ShapeDtypeStruct((), y.dtype), None, frozenset())
    if "hessian" in meter.carried:
        state = eqx.tree_at(lambda s: s.f_info.hessian_inv, state, meter.carried["hessian"])
    arrays, rest = eqx.partition(state, eqx.is_array)

    def advance(y: Any, arrays: Any, limit: Any, data: Arrays) -> tuple[Any, Any, Any]:
        def goes_on(carry: tuple[Any, Any, Any]) -> Any:
            return (carry[2] < CHUNK) & (carry[1].num_accepted_steps < limit)

        def step(carry: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
            y, new, _ = solver.step(fn, carry[0], data, {}, eqx.combine(carry[1], rest), frozenset())
            return y, eqx.filter(new, eqx.is_array), carry[2] + 1

        return jax.lax.while_loop(goes_on, step, (y, arrays, 0))

    compiled: Any = meter.carried.get("compiled")
    if compiled is None:
        compiled = jax.jit(advance).lower(y, arrays, 10**9, data).compile()
        meter.carried["compiled"] = compiled
        meter.tracer.clock.restart()
    still = 0
    # The first accepted step is the evaluation of the start.
    limit, accepted = 1 + int(min(meter.iterations_left, 10**9 - 1)), 0
    while still < PATIENCE:
        y, arrays, steps = compiled(y, arrays, limit, data)
        meter.carried["hessian"] = eqx.combine(arrays, rest).f_info.hessian_inv
        now = max(int(arrays.num_accepted_steps) - 1, 0)
        still = still + 1 if now == accepted else 0
        value = float(arrays.f_info.f)
        if not math.isfinite(value):
            return "the loss is no longer finite"
        meter.count_external(value, torch.from_numpy(np.array(y)), int(steps), now - accepted)
        accepted = now
    return f"no step accepted in {PATIENCE * CHUNK}"
