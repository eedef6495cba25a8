"""The test functions by name: sizes, standard starts and known minima.

Starts and minima are those of More, Garbow and Hillstrom (1981), section 3. Where they print a minimum to six digits it
is given here to float64, found by Levenberg-Marquardt and Newton steps on these residuals; the tests hold the printed
digits beside them. Minima they do not list, but which were found here or are known since, say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.functions import fixed, variable
from benchmarks.functions.problem import Function, Problem, Residuals, counting, vector

Start = Callable[[int], Tensor]
Minima = Callable[[int], tuple[float, ...]]

LARGE_SIZES = (100, 1000, 10_000)
FACTORS = (1.0, 10.0, 100.0)


def _fixed(number: int, name: str, residuals: Residuals, start: tuple[float, ...], rows: int, *minima: float) -> Function:
    """Describe a function of one size; its minimum is 0 unless others are given."""
    known = tuple(sorted(minima)) or (0.0,)
    return Function(name, residuals, lambda _: vector(*start), lambda _: rows, lambda _: known, (len(start),), number)


def _constant(value: float) -> Start:
    return lambda n: torch.full((n,), value, dtype=torch.float64)


def _repeated(*block: float) -> Start:
    return lambda n: vector(*block).repeat(n // len(block))


def _bowl(n: int) -> Tensor:
    """Return t_j (t_j - 1) with t_j = j / (n + 1)."""
    t = counting(n) / (n + 1)
    return t * (t - 1)


def _known(table: dict[int, tuple[float, ...]], default: tuple[float, ...] = (0.0,)) -> Minima:
    return lambda n: table.get(n, default)


def penalty_1_minimum(n: int) -> tuple[float, ...]:
    """Return the minimum of penalty function I, by its symmetry a matter of one unknown.

    All x_i equal x there, so with a = 1e-5 the gradient vanishes where 2 n x^3 + (a - 1/2) x - a = 0; Newton's method
    from 1 / sqrt(n) descends to the largest root.
    """
    a = 1e-5
    x = n**-0.5
    for _ in range(60):
        x -= (2 * n * x**3 + (a - 0.5) * x - a) / (6 * n * x**2 + a - 0.5)
    return (a * n * (x - 1) ** 2 + (n * x * x - 0.25) ** 2,)


def _linear_rank_1_minimum(n: int) -> tuple[float, ...]:
    m = 2 * n
    return (m * (m - 1) / (2 * (2 * m + 1)),)


def _linear_rank_1_zero_minimum(n: int) -> tuple[float, ...]:
    m = 2 * n
    return ((m * m + 3 * m - 6) / (2 * (2 * m - 3)),)


_OSBORNE_2_START = (1.3, 0.65, 0.65, 0.7, 0.6, 3.0, 5.0, 7.0, 2.0, 4.5, 5.5)
# At infinity Bard's fit is the mean of its data, and Beale's a line through the origin.
_BARD_AT_INFINITY = 17.428693333333333
_BEALE_AT_INFINITY = 14.203125 - 13.875**2 / 14

# fmt: off
FUNCTIONS: tuple[Function, ...] = (
    Function("rosenbrock", variable.rosenbrock, _repeated(-1.2, 1.0), lambda n: n, _known({}), (2,), 1),
    _fixed(2, "freudenstein-roth", fixed.freudenstein_roth, (0.5, -2.0), 2, 0.0, 48.98425367924001),
    # The second is a local minimum in the negative quadrant, found here.
    _fixed(3, "powell-badly-scaled", fixed.powell_badly_scaled, (0.0, 1.0), 2, 0.0, 1.040294003961639),
    _fixed(4, "brown-badly-scaled", fixed.brown_badly_scaled, (1.0, 1.0), 3),
    _fixed(5, "beale", fixed.beale, (1.0, 1.0), 3, 0.0, _BEALE_AT_INFINITY),
    # The second, as the first unknown goes to minus infinity, was found here.
    _fixed(6, "jennrich-sampson", fixed.jennrich_sampson, (0.3, 0.4), 10, 124.3621823556149, 259.5801901342533),
    _fixed(7, "helical-valley", fixed.helical_valley, (-1.0, 0.0, 0.0), 3),
    _fixed(8, "bard", fixed.bard, (1.0, 1.0, 1.0), 15, 0.008214877306578969, _BARD_AT_INFINITY),
    _fixed(9, "gaussian", fixed.gaussian, (0.4, 1.0, 0.0), 15, 1.127932769618727e-8),
    _fixed(10, "meyer", fixed.meyer, (0.02, 4000.0, 250.0), 16, 87.9458551704),
    _fixed(11, "gulf", fixed.gulf, (5.0, 2.5, 0.15), 99),
    _fixed(12, "box", fixed.box, (0.0, 10.0, 20.0), 10),
    Function("powell-singular", variable.powell_singular, _repeated(3.0, -1.0, 0.0, 1.0), lambda n: n,
             _known({}), (4,), 13),
    Function("wood", variable.wood, _repeated(-3.0, -1.0, -3.0, -1.0), lambda n: 6 * n // 4, _known({}), (4,), 14),
    _fixed(15, "kowalik-osborne", fixed.kowalik_osborne, (0.25, 0.39, 0.415, 0.39), 11,
           3.075056038492371e-4, 1.027343048695461e-3),
    _fixed(16, "brown-dennis", fixed.brown_dennis, (25.0, 5.0, -5.0, -1.0), 20, 85822.20162635628),
    _fixed(17, "osborne-1", fixed.osborne_1, (0.5, 1.5, -1.0, 0.01, 0.02), 33, 5.464894697482731e-5),
    # The second is a saddle, but a minimum of the subspace that the standard start lies in.
    _fixed(18, "biggs-exp6", fixed.biggs_exp6, (1.0, 2.0, 1.0, 1.0, 1.0, 1.0), 13, 0.0, 5.655649925499912e-3),
    _fixed(19, "osborne-2", fixed.osborne_2, _OSBORNE_2_START, 65, 0.04013773629354774),
    Function("watson", fixed.watson, _constant(0.0), lambda _: 31,
             _known({6: (2.287670053552328e-3,), 9: (1.399760138095315e-6,), 12: (4.722381104547e-10,)}), (6, 9), 20),
    Function("extended-rosenbrock", variable.rosenbrock, _repeated(-1.2, 1.0), lambda n: n, _known({}), (10,), 21),
    Function("extended-powell-singular", variable.powell_singular, _repeated(3.0, -1.0, 0.0, 1.0), lambda n: n,
             _known({}), (12,), 22),
    Function("penalty-1", variable.penalty_1, counting, lambda n: n + 1, penalty_1_minimum, (4, 10), 23),
    Function("penalty-2", variable.penalty_2, _constant(0.5), lambda n: 2 * n,
             _known({4: (9.376293007355447e-6,), 10: (2.93660537456746e-4,), 100: (97096.08395468799,)}), (4, 10), 24),
    Function("variably-dimensioned", variable.variably_dimensioned, lambda n: 1 - counting(n) / n, lambda n: n + 2,
             _known({}), (10,), 25),
    # The second minimum of size 10 is not in the paper, but is where most methods go from its start.
    Function("trigonometric", variable.trigonometric, lambda n: _constant(1 / n)(n), lambda n: n,
             _known({10: (0.0, 2.795056121878057e-5)}), (10,), 26),
    Function("brown-almost-linear", variable.brown_almost_linear, _constant(0.5), lambda n: n,
             _known({}, (0.0, 1.0)), (10,), 27),
    Function("discrete-boundary-value", variable.discrete_boundary_value, _bowl, lambda n: n, _known({}), (10,), 28),
    Function("discrete-integral-equation", variable.discrete_integral_equation, _bowl, lambda n: n,
             _known({}), (10,), 29),
    Function("broyden-tridiagonal", variable.broyden_tridiagonal, _constant(-1.0), lambda n: n, _known({}), (10,), 30),
    Function("broyden-banded", variable.broyden_banded, _constant(-1.0), lambda n: n, _known({}), (10,), 31),
    Function("linear-full-rank", variable.linear_full_rank, _constant(1.0), lambda n: 2 * n,
             lambda n: (float(n),), (10,), 32),
    Function("linear-rank-1", variable.linear_rank_1, _constant(1.0), lambda n: 2 * n,
             _linear_rank_1_minimum, (10,), 33),
    Function("linear-rank-1-zero", variable.linear_rank_1_zero, _constant(1.0), lambda n: 2 * n,
             _linear_rank_1_zero_minimum, (10,), 34),
    # The paper lists the last of size 10; the lower two have been found since.
    Function("chebyquad", variable.chebyquad, lambda n: counting(n) / (n + 1), lambda n: n,
             _known({8: (3.516873725677922e-3,),
                     10: (4.772713696375355e-3, 6.503954800882305e-3)}), (8, 10), 35),
)

EXTENDED_WOOD = Function("extended-wood", variable.wood, _repeated(-3.0, -1.0, -3.0, -1.0), lambda n: 6 * n // 4,
                         _known({}), LARGE_SIZES)
# fmt: on

BY_NAME = {function.name: function for function in (*FUNCTIONS, EXTENDED_WOOD)}

LARGE: dict[str, tuple[int, ...]] = {
    "extended-rosenbrock": LARGE_SIZES,
    "extended-powell-singular": LARGE_SIZES,
    "extended-wood": LARGE_SIZES,
    "trigonometric": LARGE_SIZES,
    "penalty-1": LARGE_SIZES,
    "broyden-tridiagonal": LARGE_SIZES,
    "variably-dimensioned": LARGE_SIZES,
    "penalty-2": (100,),
}
"""The functions measured at large n, from their standard starts."""


def standard_problems() -> Iterator[Problem]:
    """Yield the 35 functions at their sizes, from 1, 10 and 100 times the standard start where that makes sense.

    A start of zero has no multiples; see `Problem.is_worth_starting` for the others that are left out.
    """
    for function in FUNCTIONS:
        for size in function.sizes:
            factors = FACTORS if function.start(size).any() else FACTORS[:1]
            problems = (function.at(size, factor) for factor in factors)
            yield from (problem for problem in problems if problem.is_worth_starting())


def large_problems() -> Iterator[Problem]:
    """Yield the large problems of `LARGE`."""
    for name, sizes in LARGE.items():
        yield from (BY_NAME[name].at(size) for size in sizes)


def all_problems() -> tuple[Problem, ...]:
    """Return every problem of the benchmark."""
    return (*standard_problems(), *large_problems())


def quick_problems() -> tuple[Problem, ...]:
    """Return the reduced set: each of the 35 functions once, at its standard start, and the large ones at n = 100."""
    standard = (function.at(function.sizes[0]) for function in FUNCTIONS)
    return (*standard, *(problem for problem in large_problems() if problem.size == LARGE_SIZES[0]))
