"""The three tasks, and what is measured in each."""

BINARY, MULTICLASS, REGRESSION = "binary", "multiclass", "regression"

METRICS: dict[str, tuple[str, ...]] = {
    BINARY: ("loss", "accuracy"),
    MULTICLASS: ("loss", "accuracy"),
    REGRESSION: ("loss", "rmse", "mae", "r2"),
}

GROWING = ("accuracy", "r2")
"""The metrics of which more is better."""
