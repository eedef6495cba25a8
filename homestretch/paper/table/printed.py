"""Table 1 as printed in Hrycej et al. (2025), and what its rounded digits leave open."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PRINTED", "Printed", "Range"]

_TABLE = """
mnist     vit-mlp              .0008 .995  .0061 .965  .0001 1.000 .0044 .974  3.9
mnist     vit-nomlp            .0003 .998  .0064 .963  .0002 .999  .0053 .969  11.0
mnist     vit-nomlp-wkewq      .0004 .998  .0057 .967  .0002 .999  .0048 .971  14.1
mnist     vit-nomlp-wkewq-wvwo .0016 .990  .0073 .955  .0006 .996  .0063 .962  33.5
mnist     vgg5-max-relu        .0001 1.000 .0014 .993  .0001 1.000 .0011 .994  4.9
cifar-10  vit-mlp              .0091 .943  .0997 .428  .0041 .970  .0991 .435  3.1
cifar-10  vit-nomlp            .0290 .819  .0981 .428  .0175 .891  .0982 .444  7.9
cifar-10  vit-nomlp-wkewq      .0386 .744  .0889 .441  .0270 .833  .0881 .461  9.9
cifar-10  vit-nomlp-wkewq-wvwo .0567 .575  .0775 .414  .0527 .612  .0738 .436  19.1
cifar-10  vgg5-max-relu        .0059 .967  .0531 .710  .0047 .969  .0491 .719  4.1
cifar-100 vit-mlp              .0041 .706  .0128 .155  .0028 .758  .0134 .151  29.7
cifar-100 vit-nomlp            .0062 .478  .0112 .166  .0053 .534  .0116 .165  72.6
cifar-100 vit-nomlp-wkewq      .0069 .425  .0108 .174  .0059 .487  .0109 .176  88.4
cifar-100 vit-nomlp-wkewq-wvwo .0082 .291  .0099 .157  .0078 .326  .0097 .164  156.4
cifar-100 vgg5-max-relu        .0032 .755  .0108 .300  .0032 .737  .0102 .321  38.9
"""


@dataclass(frozen=True)
class Range:
    """Where a number lies of which only rounded digits are known."""

    low: float
    high: float


@dataclass(frozen=True)
class Printed:
    """One row of the table; the losses and accuracies of each recipe in the order printed, as text with their digits.

    Attributes:
        adam: Adam alone: training loss, training accuracy, validation loss, validation accuracy.
        golden: Adam, then conjugate gradients: likewise.
        overdetermination: The ratio Q.
    """

    adam: tuple[str, str, str, str]
    golden: tuple[str, str, str, str]
    overdetermination: str

    @property
    def gain(self) -> Range:
        """Adam's training loss over that of Adam and conjugate gradients, from half a unit of the last digit each way."""
        adam, golden = _rounded(self.adam[0]), _rounded(self.golden[0])
        return Range(adam.low / golden.high, adam.high / golden.low)

    def of(self, recipe: str) -> tuple[str, str, str, str] | None:
        """The printed figures of a recipe, ``None`` if it has none."""
        return {"adam": self.adam, "golden-30": self.golden}.get(recipe)


def _rounded(text: str) -> Range:
    half = 0.5 * 10.0 ** -len(text.partition(".")[2])
    return Range(float(text) - half, float(text) + half)


def _parsed(line: str) -> tuple[tuple[str, str], Printed]:
    name, model, *cells = line.split()
    a, b, c, d, e, f, g, h, q = cells
    return (name, model), Printed((a, b, c, d), (e, f, g, h), q)


PRINTED: dict[tuple[str, str], Printed] = dict(map(_parsed, _TABLE.strip().splitlines()))
"""The rows by set and model."""
