from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from homestretch import vectors

SHAPES = ((3, 4), (), (7,), (0,), (2, 1, 5))


def draw(seed, dtype=torch.float64, shapes=SHAPES):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes]


def flat(a):
    return np.concatenate([t.double().numpy().reshape(-1) for t in a])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_dots_are_numpys_in_float64(dtype):
    a, b, c = (draw(seed, dtype) for seed in range(3))
    found = vectors.dots([(a, b), (a, c), (b, b)])
    expected = [flat(a) @ flat(b), flat(a) @ flat(c), flat(b) @ flat(b)]
    np.testing.assert_allclose(found, expected, rtol=1e-12 if dtype is torch.float64 else 1e-6)
    assert vectors.dot(a, b) == found[0]
    assert vectors.norm(a) == pytest.approx(np.linalg.norm(flat(a)), rel=1e-6)
    assert vectors.max_abs(a) == np.abs(flat(a)).max()


def test_dots_of_mixed_dtypes_and_of_views():
    a = [torch.arange(6.0).reshape(2, 3).mT, torch.tensor(2.0, dtype=torch.float64)]
    b = [torch.ones(3, 2), torch.tensor(0.5, dtype=torch.float64)]
    assert vectors.dot(a, b) == 16.0


def test_float32_sums_are_accumulated_in_float64():
    """Ones of 2^24 and more: a float32 sum would stay where it is."""
    ones = [torch.ones(2**24 + 8), torch.ones(3)]
    assert vectors.dot(ones, ones) == 2**24 + 11


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [16_384, 16_385, 131_072, 131_073, 500_001])
def test_long_vectors_are_added_as_well_as_short_ones(size, dtype):
    """Long float32 vectors are added piece by piece."""
    a, b = (draw(seed, dtype, ((size - 5,), (5,))) for seed in (0, 1))
    found = vectors.dots([(a, b), (a, a)])
    expected = [flat(a) @ flat(b), flat(a) @ flat(a)]
    scale = np.abs(flat(a)) @ np.abs(flat(b))
    unit = 2.0**-53 if dtype is torch.float64 or size <= 16_384 else 2.0**-24
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=256.0 * unit * scale)


def test_long_vectors_of_mixed_dtypes():
    a = [torch.full((200_000,), 0.5), torch.full((3,), 2.0, dtype=torch.float64)]
    b = [torch.ones(200_000, dtype=torch.float64), torch.ones(3, dtype=torch.float64)]
    assert vectors.dot(a, b) == vectors.dot(b, a) == 100_006.0


def test_sums_over_tensors_do_not_cancel():
    a = [torch.tensor([v], dtype=torch.float64) for v in (1e16, 1.0, -1e16)]
    assert vectors.dot(a, [torch.ones(1, dtype=torch.float64)] * 3) == 1.0


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 100_000])
def test_the_chunked_sum_is_as_good_as_float64(size):
    """What devices without float64 do."""
    x, y = (draw(seed, torch.float32, ((size,),))[0] for seed in (0, 1))
    expected = float((x * y).double().sum())
    scale = float((x * y).double().abs().sum())
    found = vectors._chunked_dot(x, y)
    assert found.dtype is torch.float64
    assert abs(float(found) - expected) <= 1e-6 * scale
    ones = torch.ones(size)
    assert float(vectors._chunked_dot(ones, ones)) == size


@pytest.mark.parametrize("place", range(3))
def test_the_largest_entry_is_nan_wherever_one_is(place):
    a = [torch.ones(2), torch.full((2, 2), math.inf), torch.tensor(3.0)]
    assert vectors.max_abs(a) == math.inf
    a[place].view(-1)[0] = math.nan
    assert math.isnan(vectors.max_abs(a))


@pytest.mark.parametrize(("here", "there"), [(1.0, 2.0), (2.0, 1.0), (math.nan, 1.0), (1.0, math.nan)])
def test_the_largest_entry_over_ranks(monkeypatch, here, there):
    """The other rank is played by a reduction that loses NaN, as that of gloo may."""

    def reduce(buffer, op, group):
        other = torch.tensor([0.0, 1.0] if math.isnan(there) else [there, 0.0], dtype=torch.float64)
        torch.fmax(buffer, other, out=buffer)

    monkeypatch.setattr(vectors.dist, "all_reduce", reduce)
    monkeypatch.setattr(vectors.dist, "get_backend", lambda group: "gloo")
    found = vectors.max_abs([torch.tensor([here])], groups=[object()])
    assert found == pytest.approx(math.nan if math.isnan(here + there) else 2.0, nan_ok=True)


def test_the_empty_vector():
    assert vectors.norm([]) == 0.0
    assert vectors.max_abs([]) == 0.0
    assert vectors.size([]) == 0
    assert vectors.subtract([], []) == vectors.multiply([], []) == vectors.negative([]) == []
    vectors.copy_([], [])
    vectors.scale_([], 2.0)
    vectors.add_([], [])
    vectors.assign_sum_([], [], [], 1.0)


def test_algebra_is_numpys():
    a, b = draw(0), draw(1)
    x, y = flat(a), flat(b)
    np.testing.assert_array_equal(flat(vectors.subtract(a, b)), x - y)
    np.testing.assert_array_equal(flat(vectors.multiply(a, b)), x * y)
    np.testing.assert_array_equal(flat(vectors.negative(a)), -x)
    np.testing.assert_array_equal(flat(vectors.zeros_like(a)), 0 * x)
    copied = vectors.clone(a)
    vectors.add_(copied, b, -0.3)
    np.testing.assert_allclose(flat(copied), x - 0.3 * y, rtol=1e-14, atol=1e-16)
    vectors.scale_(copied, 2.0)
    np.testing.assert_allclose(flat(copied), 2 * (x - 0.3 * y), rtol=1e-14, atol=1e-16)
    vectors.copy_(copied, b)
    np.testing.assert_array_equal(flat(copied), y)
    np.testing.assert_array_equal(flat(a), x)  # all of it left the operands alone


@given(seed=st.integers(0, 1000), step=st.floats(-1e6, 1e6), dtype=st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=50, deadline=None)
def test_a_point_on_a_line_is_the_same_to_the_bit_wherever_one_comes_from(seed, step, dtype):
    start, direction, elsewhere = (draw(seed + i, dtype) for i in range(3))
    fresh = vectors.zeros_like(start)
    vectors.assign_sum_(fresh, start, direction, step)
    vectors.assign_sum_(elsewhere, start, direction, 1e3 * step + 1.0)
    vectors.assign_sum_(elsewhere, start, direction, step)
    assert all(torch.equal(p, q) for p, q in zip(fresh, elsewhere, strict=True))
    assert all(torch.equal(p, torch.add(s, d, alpha=step)) for p, s, d in zip(fresh, start, direction, strict=True))
    vectors.assign_sum_(fresh, start, direction, 0.0)
    assert all(torch.equal(p, s) for p, s in zip(fresh, start, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_step_beyond_the_range_of_the_dtype(dtype):
    step = 4.0 * min(torch.finfo(dtype).max, 1e200)
    tiny = torch.full((3,), 2.0 / step, dtype=torch.float64).to(dtype)  # in float16 and float32 subnormal, hence rounded
    target, start = [torch.zeros(3, dtype=dtype)], [torch.ones(3, dtype=dtype)]
    vectors.assign_sum_(target, start, [-tiny], step)
    expected = 1.0 - tiny.double() * step
    torch.testing.assert_close(target[0].double(), expected, rtol=1e-2, atol=1e-2)
    vectors.assign_sum_(target, start, [torch.ones(3, dtype=dtype)], 1e4 * step)
    assert bool(torch.isinf(target[0]).all()) or dtype is torch.float64
    vectors.assign_sum_(target, start, [torch.ones(3, dtype=dtype)], math.inf)
    assert bool(torch.isinf(target[0]).all())
    total = [torch.ones(3, dtype=dtype)]
    vectors.add_(total, [tiny], step)
    torch.testing.assert_close(total[0].double(), 1.0 + tiny.double() * step, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_pack_and_unpack_are_inverse_and_share_memory(dtype):
    a = draw(0, dtype)
    packed = vectors.pack(a)
    assert packed.shape == (vectors.size(a),)
    assert packed.dtype is dtype
    np.testing.assert_array_equal(packed.double().numpy(), flat(a))
    parts = vectors.unpack(packed, a)
    assert all(torch.equal(p, q) and p.shape == q.shape for p, q in zip(parts, a, strict=True))
    packed.zero_()
    assert not any(bool(p.any()) for p in parts)


def test_pack_refuses_mixed_dtypes():
    with pytest.raises(ValueError, match="one device and of one dtype"):
        vectors.pack([torch.ones(1), torch.ones(1, dtype=torch.float64)])


def test_plain_tensors_have_no_shards():
    a = [torch.nn.Parameter(torch.ones(2))]
    assert vectors.shard_groups(a) == []
    (local,) = vectors.locals_of(a)
    assert local.data_ptr() == a[0].data_ptr()
    assert not local.requires_grad
    assert vectors.sharded_like(local, a[0]) is local


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_working_eps_is_the_last_digit_of_one(dtype):
    eps = vectors.working_eps(dtype)
    assert torch.ones((), dtype=dtype) + eps > 1
    assert math.log2(eps) == round(math.log2(eps))
    assert torch.ones((), dtype=dtype) + eps / 4 == 1


@pytest.mark.parametrize("scale", [1e-21, 1e21])
def test_long_float32_products_that_leave_its_range_are_exact(scale):
    vector = torch.linspace(1.0, 2.0, 150_000) * scale
    exact = float(vector.double() @ vector.double())
    assert vectors.dot([vector], [vector]) == pytest.approx(exact, rel=1e-12)
