"""What Newton-CG keeps between iterations, and what it forgets."""

from __future__ import annotations

import io

import pytest
import torch

from homestretch import NewtonCG, NystromPreconditioner, vectors
from tests.directions.problems import network


@pytest.mark.parametrize("options", [{}, {"trust_radius": 0.3}, {"nystrom": True, "damping": 1e-3}])
@pytest.mark.parametrize("at", [1, 4])
@pytest.mark.parametrize("products", [True, False])
def test_a_reload_continues_bit_for_bit(options, at, products):
    def make():
        model, f = network()
        settings = {**options, "nystrom": NystromPreconditioner(5, 3)} if "nystrom" in options else options
        closure = f if products else (lambda: f())
        return model, closure, NewtonCG(model.parameters(), max_products=8, **settings)

    model, f, optimizer = make()
    for _ in range(at):
        optimizer.step(f)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    expected = [optimizer.step(f) for _ in range(6)]
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    twin, g, fresh = make()
    twin.load_state_dict(saved["model"])
    fresh.load_state_dict(saved["optimizer"])
    assert [fresh.step(g) for _ in range(6)] == expected
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_changed_function_makes_the_preconditioner_anew():
    model, f = network()
    optimizer = NewtonCG(model.parameters(), nystrom=NystromPreconditioner(5, 100))
    optimizer.minimize(f, 3)
    assert ["sketch_products" in r.extra for r in optimizer.history] == [True, False, False]
    optimizer.renew()
    optimizer.step(f)
    assert optimizer.history[-1].extra["sketch_products"] == 5.0


def test_reset_forgets_everything():
    model, f = network()
    optimizer = NewtonCG(model.parameters(), trust_radius=0.3, nystrom=NystromPreconditioner(5, 100))
    optimizer.minimize(f, 5)
    optimizer.direction.reset()
    assert optimizer.scalars["forcing"] == 0.5
    assert optimizer.scalars["radius"] == 0.3
    optimizer.step(f)
    assert "sketch_products" in optimizer.history[-1].extra
    assert vectors.norm([p.grad for p in model.parameters()]) > 0.0
