"""Logistic regression on features that stay as they are."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mcl_jax.evaluation.labelled import Labelled, to_choose_on

_SMALL = 2**22  # numbers, below which one thread is fastest
STRENGTHS = tuple(10.0**power for power in range(1, -7, -1))


class Probe(NamedTuple):
    """A linear classifier that was chosen among some.

    Attributes:
        probabilities: float32 [n, C], of the rows to be judged.
        chosen: the strength of regularisation, or the learning rate, that was best.
        accuracy: of each that was tried, on the rows to choose on.
    """

    probabilities: np.ndarray
    chosen: float
    accuracy: dict[float, float]


def linear_probe(
    train: Labelled,
    validation: Labelled,
    test: np.ndarray,
    *,
    classes: int,
    strengths: Sequence[float] = STRENGTHS,
    components: int | None = None,
) -> Probe:
    """Multinomial logistic regression by LBFGS, its regularisation chosen on validation rows.

        minimise  mean over rows of cross-entropy + strength / 2 sum(W^2)

    Features are standardised first (mean 0, standard deviation 1 on training rows), so that one
    range of strengths suits every encoder; the bias is not regularised. Of equally good strengths
    the largest is taken. Without validation rows a fifth of the training rows of each class is
    chosen on, and the classifier then fitted to all of them.

    Args:
        train: features [N, F] and labels [N].
        validation: likewise; may be without rows.
        test: features [n, F] of the rows to be judged.
        classes: C.
        strengths: those that are tried.
        components: if the standardised features are more, only their parts along so many principal
            components of the training rows count. None is all; thousands take minutes.

    Returns:
        The probe; probabilities of a class without training rows are 0.

    Raises:
        ValueError: no strength is given, or one is not above 0; ``components`` is below 1.

    Example:
        >>> import numpy as np
        >>> rows = Labelled(np.eye(2).repeat(10, axis=0), np.arange(2).repeat(10))
        >>> probe = linear_probe(rows, rows, np.eye(2), classes=2, strengths=(1.0, 0.01))
        >>> probe.chosen, probe.probabilities.argmax(axis=1).tolist()
        (1.0, [0, 1])

    Scikit-learn fits, in float64 on the CPU.
    """
    if not strengths or min(strengths) <= 0:
        raise ValueError(f"strengths must be above 0, got {strengths}.")
    if components is not None and components < 1:
        raise ValueError(f"components must be 1 or more, or None, got {components}.")
    standardised = _standardiser(train.features, components)
    fitted, judged = to_choose_on(train, validation)
    seen, judged_features = standardised(fitted.features), standardised(judged.features)
    classifier, accuracy, best = _classifier(), {}, -1.0
    test = standardised(test)
    said = np.empty(0)
    for strength in sorted(strengths, reverse=True):
        _fit(classifier, strength, seen, fitted.labels)
        answers = classifier.predict(judged_features)
        accuracy[strength] = float(np.mean(answers == judged.labels))
        if accuracy[strength] > best:
            best, chosen = accuracy[strength], strength
            said = over_classes(classifier, test, classes)
    if fitted is not train:
        _fit(classifier, chosen, standardised(train.features), train.labels)
        said = over_classes(classifier, test, classes)
    return Probe(said, chosen, accuracy)


def _standardiser(
    features: np.ndarray, components: int | None
) -> Callable[[np.ndarray], np.ndarray]:
    """Features to float64 of mean 0 and deviation 1 on some rows, or to principal components."""
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 0, scale, 1)

    def standardised(features: np.ndarray) -> np.ndarray:
        return ((features - mean) / scale).astype(np.float64)

    if components is None or min(features.shape) <= components:
        return standardised
    from sklearn.utils.extmath import randomized_svd

    rows = standardised(features).astype(np.float32)
    axes = randomized_svd(rows, components, n_iter=2, random_state=0)[2].T
    return lambda features: standardised(features) @ axes


def _classifier() -> Any:
    """Starts each fit from the last one: from strong regularisation to weak, a short way."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=300, tol=1e-5, warm_start=True)


def _fit(classifier: Any, strength: float, features: np.ndarray, labels: np.ndarray) -> None:
    classifier.set_params(C=1 / (strength * len(labels)))
    fit(classifier, features, labels)


def fit(classifier: Any, features: np.ndarray, labels: np.ndarray) -> None:
    """Fits a classifier of scikit-learn, without a word where it stops before its end."""
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    # Threads that share small products wait for each other longer than they work.
    threads = 1 if features.size < _SMALL else None
    with warnings.catch_warnings(), threadpool_limits(threads):
        # What came out is judged all the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(features, labels)


def over_classes(classifier: Any, features: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities of a scikit-learn classifier over all C classes, those it never saw too."""
    probabilities = np.zeros((len(features), classes), np.float32)
    probabilities[:, classifier.classes_] = classifier.predict_proba(features)
    return probabilities
