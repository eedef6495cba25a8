"""Prices beside measured ratios, on a fit that takes no time."""

from __future__ import annotations

from benchmarks.sciml import Zoo, prices


def test_every_kind_of_work_has_its_price_and_a_measured_ratio(monkeypatch) -> None:
    monkeypatch.setattr(prices, "make_problem", lambda name: Zoo(0, "sin", 6, points=60))
    monkeypatch.setattr(prices, "_seconds", lambda call: (call(), 2.0)[1])
    rows = {row["work"]: row for row in prices.prices("zoo", compiled=False)}
    assert {row["measured"] for row in rows.values()} == {"1"}  # all take as long as a gradient by this clock
    assert rows["forward"]["price"] == "0.333"
    assert rows["Hessian product"]["price"] == "3"
    assert (rows["Jacobian"]["residuals"], rows["Jacobian"]["parameters"]) == (60, 19)
    assert "gradient, residuals compiled" not in rows
