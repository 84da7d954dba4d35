"""The metrics that the task knows, by the names that `task.metric` and datasets have for them."""

from layersel.errors import UserError, one_of
from layersel.tasks.task import Metric

OF_CLASSES = {
    "accuracy": Metric("accuracy", "accuracy"),
    "f1": Metric("f1", "F1"),
    "macro_f1": Metric("macro_f1", "macro F1"),
    "matthews": Metric("matthews", "Matthews correlation"),
}
"""The metrics of predicted classes; the first one is compared by where nothing else is said."""
OF_NUMBERS = {
    "pearson": Metric("pearson", "Pearson correlation"),
    "spearman": Metric("spearman", "Spearman correlation"),
    "rmse": Metric("rmse", "RMSE", higher_is_better=False),
}
"""The metrics of predicted numbers."""
METRICS = OF_CLASSES | OF_NUMBERS


def metric_for(name: str | None, usual: tuple[str, ...], of_numbers: bool, dataset: str) -> str:
    """Returns the name of the metric that a dataset's cells are compared by.

    Args:
        name: What `task.metric` says; None leaves it to the dataset.
        usual: The metrics that the dataset is usually measured by; the first that the task knows is taken.
        of_numbers: Whether its labels are numbers.
        dataset: The dataset's name.

    Raises:
        UserError: The metric is one of the other kind of labels.

    Example:
        >>> metric_for(None, ("matthews", "accuracy"), False, "cola"), metric_for(None, (), True, "stsb")
        ('matthews', 'pearson')
    """
    known = OF_NUMBERS if of_numbers else OF_CLASSES
    if name is None:
        return next((own for own in usual if own in known), next(iter(known)))
    if name in known:
        return name
    what = "numbers" if of_numbers else "names of classes"
    raise one_of("task.metric", name, known, f"the labels of {dataset} are {what}")


def common_metric(names: dict[str, str]) -> str:
    """Returns the metric that all datasets (name → metric) are compared by.

    Raises:
        UserError: They are compared by different ones.
    """
    if len(set(names.values())) == 1:
        return next(iter(names.values()))
    found = ", ".join(f"{dataset} by {metric}" for dataset, metric in names.items())
    raise UserError(f"task.metric: expected one metric for all datasets, but got {found}; give task.metric=NAME")
