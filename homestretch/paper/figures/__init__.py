"""The figures of the paper, from their formulas and from runs."""

from homestretch.paper.figures.drawings import figure_1, figure_2, figure_3, figure_4, figure_5, figure_6, save_figures

__all__ = ["figure_1", "figure_2", "figure_3", "figure_4", "figure_5", "figure_6", "save_figures"]
