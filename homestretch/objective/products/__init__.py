"""Products with Hessians, Gauss-Newton matrices and Jacobians, by automatic differentiation."""

from homestretch.objective.products.dataset import DatasetProducts
from homestretch.objective.products.gauss_newton import GaussNewtonProduct, output_curvature
from homestretch.objective.products.hessian import HessianProduct

__all__ = ["DatasetProducts", "GaussNewtonProduct", "HessianProduct", "output_curvature"]
