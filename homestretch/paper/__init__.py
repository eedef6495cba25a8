"""The experiments of the paper: models and data."""
