"""The fast hyperbolic tangent against torch's: values, derivatives in every mode, and where it steps aside."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, jvp, vmap

from homestretch.objective import fast_tanh
from homestretch.objective.fast_tanh import Tanh, tanh
from homestretch.objective.taylor import taylor

SIZE = 8192  # from here on both dtypes go through NumPy
Function = Callable[[Tensor], Tensor]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def values(dtype: torch.dtype = torch.float64, rows: int = 1) -> Tensor:
    return 2.0 * torch.randn(rows, SIZE, dtype=dtype, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def numpy_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes that NumPy was given."""
    calls: list[int] = []
    plain = fast_tanh.np.tanh

    def counted(z: object, **options: object) -> object:
        calls.append(getattr(z, "size", 0))
        return plain(z, **options)

    monkeypatch.setattr(fast_tanh.np, "tanh", counted)
    return calls


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_are_those_of_torch_within_the_last_places(dtype: torch.dtype, numpy_calls: list[int]) -> None:
    small = torch.logspace(-30, 0, SIZE, dtype=dtype)
    for z in (values(dtype), small, -small, values(dtype, rows=4).T, values(dtype, rows=4)[::2], values(dtype).expand(3, SIZE)):
        want = torch.tanh(z)
        got = tanh(z)
        assert got.dtype == dtype
        assert got.shape == z.shape
        assert ((got - want).abs() <= 3 * torch.finfo(dtype).eps * want.abs()).all()
    assert len(numpy_calls) == 6


def test_special_values_survive() -> None:
    special = torch.tensor([math.nan, math.inf, -math.inf, -0.0, 800.0, 5e-324], dtype=torch.float64)
    got = tanh(special.repeat(SIZE))[:6]
    torch.testing.assert_close(got, torch.tanh(special), rtol=0, atol=0, equal_nan=True)
    assert math.copysign(1.0, float(got[3])) == -1.0


@pytest.mark.parametrize(
    "z",
    [
        torch.zeros(10, dtype=torch.float64),
        torch.zeros(SIZE, dtype=torch.bfloat16),
        torch.zeros(SIZE, dtype=torch.complex128),
        torch.zeros(SIZE, device="meta"),
    ],
    ids=["small", "bfloat16", "complex", "meta"],
)
def test_torch_serves_the_rest(z: Tensor, numpy_calls: list[int]) -> None:
    assert tanh(z).shape == z.shape
    assert not numpy_calls


def test_torch_serves_where_it_has_threads(numpy_calls: list[int]) -> None:
    torch.set_num_threads(8)
    torch.testing.assert_close(tanh(values()), torch.tanh(values()), rtol=0, atol=0)
    assert not numpy_calls


def cube(function: Function) -> Function:
    return lambda z: (function(z) ** 3).sum()


TRANSFORMS: dict[str, Callable[[Function, Tensor], Tensor]] = {
    "gradient": lambda f, z: grad(cube(f))(z),
    "forward": lambda f, z: jvp(cube(f), (z,), (z,))[1],
    "forward over reverse": lambda f, z: jvp(grad(cube(f)), (z,), (z,))[1],
    "reverse over forward": lambda f, z: grad(lambda x: jvp(cube(f), (x,), (z,))[1])(z),
    "forward over forward": lambda f, z: jvp(lambda x: jvp(cube(f), (x,), (z,))[1], (z,), (z,))[1],
    "reverse over reverse": lambda f, z: grad(lambda x: (grad(cube(f))(x) * z).sum())(z),
    "mapped gradient": lambda f, z: vmap(grad(cube(f)))(z.expand(3, -1, -1)),
    "mapped forward": lambda f, z: vmap(lambda v: jvp(cube(f), (z,), (v,))[1])(z.expand(3, -1, -1)),
    "mapped along another axis": lambda f, z: vmap(f, in_dims=1, out_dims=1)(z.expand(3, -1, -1).transpose(0, 1)),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_derivatives_are_those_of_torch(transform: str) -> None:
    z = values()
    got, want = (TRANSFORMS[transform](f, z) for f in (tanh, torch.tanh))
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_double_backward_is_that_of_torch() -> None:
    found = []
    for function in (tanh, torch.tanh):
        z = values().requires_grad_()
        (first,) = torch.autograd.grad(cube(function)(z), z, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), z)[0])
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_taylor_passes_through_the_module() -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(1, 4), Tanh(), nn.Linear(4, 1)).double()
    theirs = nn.Sequential(ours[0], nn.Tanh(), ours[2])
    x = torch.linspace(-1, 1, SIZE // 4, dtype=torch.float64).unsqueeze(1)
    for got, want in zip(taylor(ours, x), taylor(theirs, x), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-14, atol=1e-14)


def test_a_compiled_module_serves_too() -> None:
    z = values()
    torch.testing.assert_close(torch.compile(Tanh(), backend="aot_eager")(z), torch.tanh(z), rtol=1e-15, atol=1e-15)
