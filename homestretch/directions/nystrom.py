r"""A randomised low-rank preconditioner for Newton systems, from a few Hessian products.

With a random orthonormal :math:`\Omega` of r columns, :math:`Y = H \Omega` and the eigenvalue decomposition of the Nystrom
approximation :math:`Y (\Omega^T Y)^{-1} Y^T = U \Lambda U^T`, the inverse of

.. math:: M = U (\Lambda + \mu I) U^T + (\lambda_r + \mu) (I - U U^T)

flattens the r largest eigenvalues of :math:`H + \mu I`; it is the published preconditioner times the number
:math:`\lambda_r + \mu`, which makes M an approximation of the matrix itself.

Sources: Z. Frangella, J. Tropp, M. Udell, "Randomized Nystrom preconditioning", SIAM J. Matrix Anal. Appl. 44 (2023), algorithm
2.1 and equation 5.3; P. Rathore, W. Lei, Z. Frangella, L. Lu, M. Udell, "Challenges in training PINNs: a loss landscape
perspective", ICML 2024, section 7, who damp Newton's method with it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from homestretch import arguments, vectors
from homestretch.directions.alignment import Operator
from homestretch.directions.base import Memory
from homestretch.vectors import Vector


class NystromPreconditioner:
    """A low-rank approximation of a Hessian, made anew every few iterations.

    A method works with a copy of what it is given, so one may be given to several.

    Args:
        rank: Number of Hessian products that go into one approximation (fewer where there are fewer parameters).
        every: Iterations between two of them.
        seed: Where the random directions come from, together with the count of approximations made.

    Raises:
        ValueError: If ``rank`` or ``every`` is not a whole number from 1.
    """

    def __init__(self, rank: int = 60, every: int = 20, seed: int = 0) -> None:
        self._rank = arguments.count("rank", rank)
        self._every = arguments.count("every", every)
        self._seed = seed

    def bind(self, memory: Memory) -> None:
        """Allocate the eigenvectors, one stack a parameter, or take over loaded ones."""
        self._memory = memory
        rank = min(self._rank, vectors.size(vectors.locals_of(memory.parameters)))
        basis = memory.need("nystrom_basis", lambda p: p.new_zeros((rank, *p.shape)))
        self._basis = [t.reshape(len(t), -1) for t in basis]
        memory.scalars.setdefault("nystrom_values", [])
        memory.scalars.setdefault("nystrom_made", 0)
        memory.scalars.setdefault("nystrom_age", self._every)

    @property
    def rank(self) -> int:
        """Hessian products that the next approximation takes."""
        return len(self._basis[0])

    @property
    def due(self) -> bool:
        """Whether it is time for a new approximation."""
        return int(self._memory.scalars["nystrom_age"]) >= self._every

    def older(self) -> None:
        """Count an iteration."""
        self._memory.scalars["nystrom_age"] = int(self._memory.scalars["nystrom_age"]) + 1

    def expire(self) -> None:
        """Make a new approximation at the next opportunity."""
        self._memory.scalars["nystrom_age"] = self._every

    def refresh(self, operator: Operator, like: Vector) -> int:
        """Make a new approximation; returns the number of products used.

        Args:
            operator: Hessian products.
            like: Tensors shaped like the parameters.
        """
        scalars = self._memory.scalars
        n, rank = vectors.size(like), len(self._basis[0])
        generator = torch.Generator().manual_seed(self._seed + int(scalars["nystrom_made"]))
        first = vectors.pack(like)  # refuses several devices or dtypes
        sketch = torch.linalg.qr(torch.randn(n, rank, generator=generator, dtype=first.dtype))[0].to(first.device)
        image = torch.stack([vectors.pack(operator(vectors.unpack(column, like))) for column in sketch.T.contiguous()], 1)
        scalars.update(nystrom_made=int(scalars["nystrom_made"]) + 1, nystrom_age=0)
        if not bool(torch.isfinite(image).all()):
            scalars["nystrom_values"] = []
            return rank
        basis, values = nystrom(sketch, image)
        for held, piece in zip(self._basis, basis.split([t.numel() for t in like]), strict=True):
            held.copy_(piece.T)
        scalars["nystrom_values"] = values.tolist()
        return rank

    def apply(self, vector: Vector, damping: float) -> Vector:
        r""":math:`M^{-1} v` with :math:`\mu` = ``damping``; the vector itself while there is no approximation."""
        values = torch.tensor(self._memory.scalars["nystrom_values"], dtype=torch.float64)
        if not len(values) or not float(values[0]) > 0.0:
            return vector
        limits = torch.finfo(vector[0].dtype)  # the inverse of what is larger than the smallest number is in their range
        shifted = (values + damping).clamp_min(max(limits.eps * float(values[0] + damping), limits.tiny))
        rest = 1.0 / float(shifted[-1])
        parts = [torch.mv(b, v.reshape(-1)).to("cpu", torch.float64) for b, v in zip(self._basis, vector, strict=True)]
        weights = (1.0 / shifted - rest) * torch.stack(parts).sum(0)
        return [
            torch.addmv(v.reshape(-1), b.T, weights.to(v), beta=rest).view(v.shape)
            for b, v in zip(self._basis, vector, strict=True)
        ]


def nystrom(sketch: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    r"""Eigenvectors and eigenvalues, largest first, of the Nystrom approximation of a symmetric matrix.

    An indefinite matrix is first shifted by twice its most negative eigenvalue within the sketch, so that nothing is divided by
    eigenvalues near zero; the shift is taken off the result, which is cut at zero.

    Args:
        sketch: :math:`\Omega`, orthonormal, shape (n, r).
        image: :math:`A \Omega`, shape (n, r).

    Returns:
        U of shape (n, r) and the eigenvalues of shape (r,), in float64 on the host.
    """
    eps = vectors.working_eps(image.dtype)
    exponent = torch.frexp(
        image.abs().amax()
    ).exponent  # a power of two changes no digit; the squares stay in the dtype's range
    image = torch.ldexp(image, -exponent)
    core = (sketch.T @ image).to("cpu", torch.float64)  # small: the rest of its algebra is done on the host
    core = 0.5 * (core + core.T)
    size = float(torch.linalg.matrix_norm(image))
    values, turns = torch.linalg.eigh(core)
    shift = eps * size + 2.0 * max(-float(values[0]), 0.0)
    values = (values + shift).clamp_min(eps * max(size, torch.finfo(image.dtype).tiny))
    root = torch.add(image, sketch, alpha=shift) @ (turns / values.sqrt()).to(image)
    basis, singular, _ = torch.linalg.svd(root, full_matrices=False)
    values = (singular.to("cpu", torch.float64).square() - shift).clamp_min(0.0)
    return basis, torch.ldexp(values, exponent.cpu())
