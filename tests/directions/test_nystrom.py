from __future__ import annotations

import pytest
import torch
from torch import nn

from homestretch import NewtonCG, vectors
from homestretch.directions.base import Memory
from homestretch.directions.nystrom import NystromPreconditioner, nystrom
from homestretch.errors import UnsupportedError

LIKE = [torch.zeros(3, 4, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)]
DECAY = torch.logspace(3, -3, 20, dtype=torch.float64)


def symmetric(eigenvalues):
    q = torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64))[0]
    return q @ torch.diag(torch.as_tensor(eigenvalues, dtype=torch.float64)) @ q.T


def operator(matrix):
    return lambda v: vectors.unpack(matrix @ vectors.pack(v), LIKE)


def bound(rank, **options):
    parameters = [torch.nn.Parameter(t.clone()) for t in LIKE]
    preconditioner = NystromPreconditioner(rank, **options)
    memory = Memory(parameters, {p: {} for p in parameters}, {})
    preconditioner.bind(memory)
    return preconditioner, memory


def inverse(preconditioner, damping):
    """The preconditioner's inverse as a matrix."""
    columns = [preconditioner.apply(vectors.unpack(e, LIKE), damping) for e in torch.eye(20, dtype=torch.float64)]
    return torch.stack([vectors.pack(c) for c in columns], 1)


def test_a_matrix_that_has_all_but_vanished_is_inverted_within_the_range_of_its_dtype():
    p = torch.nn.Parameter(torch.zeros(6))
    preconditioner, memory = NystromPreconditioner(3), Memory([p], {p: {}}, {})
    preconditioner.bind(memory)
    preconditioner.refresh(lambda v: [1e-36 * v[0]], [p.detach()])
    (found,) = preconditioner.apply([torch.full((6,), 1e-36)], 0.0)
    assert bool(torch.isfinite(found).all())
    memory.scalars["nystrom_values"] = [1e-40, 1e-41, 1e-42]
    (found,) = preconditioner.apply([torch.full((6,), 1e-36)], 0.0)
    assert bool(torch.isfinite(found).all())


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_units_of_the_matrix_do_not_matter_in_float32(size):
    matrix = symmetric(DECAY).float()
    sketch = torch.linalg.qr(torch.randn(20, 5))[0]
    basis, values = nystrom(sketch, matrix @ sketch)
    other, scaled = nystrom(sketch, (matrix * size) @ sketch)
    torch.testing.assert_close(scaled / size, values, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(
        other @ torch.diag(scaled / size).float() @ other.T, basis @ torch.diag(values).float() @ basis.T, rtol=1e-3, atol=1e-1
    )


@pytest.mark.parametrize("rank", [20, 50])
@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_full_rank_gives_the_inverse(rank, damping):
    matrix = symmetric(DECAY + 1.0)
    preconditioner, memory = bound(rank)
    assert preconditioner.refresh(operator(matrix), LIKE) == 20
    eye = torch.eye(20, dtype=torch.float64)
    torch.testing.assert_close(inverse(preconditioner, damping) @ (matrix + damping * eye), eye, rtol=0, atol=1e-8)
    expected = torch.linalg.eigvalsh(matrix).flip(0)
    torch.testing.assert_close(
        torch.tensor(memory.scalars["nystrom_values"], dtype=torch.float64), expected, rtol=1e-9, atol=1e-9
    )


def test_exact_for_a_matrix_of_lower_rank():
    values = torch.zeros(20, dtype=torch.float64)
    values[:5] = torch.tensor([9.0, 7.0, 4.0, 2.0, 1.0])
    matrix = symmetric(values)
    preconditioner, _ = bound(8)
    preconditioner.refresh(operator(matrix), LIKE)
    eye = torch.eye(20, dtype=torch.float64)
    # Beyond the rank the smallest eigenvalue kept is zero, so M is the damped matrix itself.
    torch.testing.assert_close(inverse(preconditioner, 0.5) @ (matrix + 0.5 * eye), eye, rtol=0, atol=1e-7)


def test_low_rank_flattens_the_largest_eigenvalues():
    matrix = symmetric(DECAY)
    preconditioner, _ = bound(12)
    preconditioner.refresh(operator(matrix), LIKE)
    eye = torch.eye(20, dtype=torch.float64)
    damped = matrix + 1e-2 * eye
    m = inverse(preconditioner, 1e-2)
    torch.testing.assert_close(m, m.T)
    assert float(torch.linalg.eigvalsh(m)[0]) > 0.0
    spectrum = torch.linalg.eigvals(m @ damped).real
    assert float(spectrum.max() / spectrum.min()) < 1e-2 * float(torch.linalg.cond(damped))


@pytest.mark.parametrize("lowest", [-1e-3, -1.0, -50.0])
def test_stays_positive_definite_for_an_indefinite_matrix(lowest):
    values = DECAY.clone()
    values[-3:] = torch.tensor([0.3, 0.5, 1.0], dtype=torch.float64) * lowest
    matrix = symmetric(values)
    for rank in (6, 20):
        preconditioner, memory = bound(rank)
        preconditioner.refresh(operator(matrix), LIKE)
        assert float(torch.linalg.eigvalsh(inverse(preconditioner, 0.1))[0]) > 0.0
        # Nothing is blown up by small divisors.
        assert memory.scalars["nystrom_values"][0] < 1.5 * 1e3


def test_eigenvectors_are_orthonormal_and_below_the_matrix():
    matrix = symmetric(DECAY)
    sketch = torch.linalg.qr(torch.randn(20, 7, dtype=torch.float64))[0]
    basis, values = nystrom(sketch, matrix @ sketch)
    torch.testing.assert_close(basis.T @ basis, torch.eye(7, dtype=torch.float64))
    # A Nystrom approximation never exceeds the matrix, and agrees with it on the sketch.
    approximation = basis @ torch.diag(values) @ basis.T
    assert float(torch.linalg.eigvalsh(matrix - approximation)[0]) > -1e-8
    torch.testing.assert_close(approximation @ sketch, matrix @ sketch, rtol=0, atol=1e-6)


def test_sketches_depend_on_seed_and_count_alone():
    def approximations(seed, count):
        torch.manual_seed(len(outcomes))  # the user's generator has no say, and is left alone
        state = torch.get_rng_state()
        preconditioner, memory = bound(5, seed=seed)
        found = []
        for _ in range(count):
            preconditioner.refresh(operator(matrix), LIKE)
            found.append(list(memory.scalars["nystrom_values"]))
        assert torch.equal(torch.get_rng_state(), state)
        return found

    matrix, outcomes = symmetric(DECAY), []
    for seed in (0, 0, 1):
        outcomes.append(approximations(seed, 2))  # noqa: PERF401 - the seed above counts them
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] != outcomes[0][1]
    assert outcomes[0][0] != outcomes[2][0]


def test_identity_until_made_and_where_there_is_nothing_to_flatten():
    preconditioner, _ = bound(4)
    vector = [torch.ones_like(t) for t in LIKE]
    assert preconditioner.apply(vector, 0.1) is vector
    preconditioner.refresh(lambda v: vectors.zeros_like(v), LIKE)
    assert preconditioner.apply(vector, 0.1) is vector
    preconditioner.refresh(lambda v: [torch.full_like(t, torch.inf) for t in v], LIKE)
    assert preconditioner.apply(vector, 0.1) is vector


def test_is_due_again_after_its_iterations():
    preconditioner, _ = bound(4, every=3)
    assert preconditioner.due
    preconditioner.refresh(operator(symmetric(DECAY)), LIKE)
    due = []
    for _ in range(4):
        due.append(preconditioner.due)
        preconditioner.older()
    assert due == [False, False, False, True]
    preconditioner.refresh(operator(symmetric(DECAY)), LIKE)
    preconditioner.expire()
    assert preconditioner.due


@pytest.mark.parametrize(("options", "name"), [({"rank": 0}, "rank"), ({"every": 0}, "every")])
def test_wrong_settings_are_refused(options, name):
    with pytest.raises(ValueError, match=f"{name} must be a whole number"):
        NystromPreconditioner(**options)


def test_one_preconditioner_may_be_given_to_two_methods():
    """Each works with a copy: steps in turn are those made apart."""

    def make(shared):
        x = nn.Parameter(torch.tensor([-1.2, 1.0, 0.3], dtype=torch.float64))

        def closure():
            loss = (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
            loss.backward()
            return loss

        return NewtonCG([x], nystrom=shared), closure

    apart = [optimizer.minimize(closure, 6) for optimizer, closure in (make(NystromPreconditioner(2, 2)) for _ in range(2))]
    shared = NystromPreconditioner(2, 2)
    pairs = [make(shared) for _ in range(2)]
    for _ in range(6):
        together = [optimizer.step(closure) for optimizer, closure in pairs]
    assert together == apart


def test_sharded_parameters_are_refused(monkeypatch):
    monkeypatch.setattr(vectors, "shard_groups", lambda tensors: [object()])
    with pytest.raises(UnsupportedError, match="nystrom is a dense preconditioner and cannot work on sharded parameters"):
        NewtonCG([nn.Parameter(torch.zeros(3))], nystrom=NystromPreconditioner())
    NewtonCG([nn.Parameter(torch.zeros(3))])
