"""scikit-learn's interface to training: estimators, ensembles of them, and a search."""

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "the estimators need scikit-learn: pip install scikit-learn"
    ) from error
