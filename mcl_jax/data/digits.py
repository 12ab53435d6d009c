"""Scikit-learn's handwritten digits: 1,797 images, 8 x 8 grey, for smoke tests."""

import numpy as np

from mcl_jax.data.dataset import DataError, Source, Split
from mcl_jax.data.stratified import rows_by_class

NOTICE = (
    "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning "
    "Repository, as scikit-learn (BSD-3-Clause) brings them."
)


def load() -> Source:
    """Returns the digits; every fifth row of each class is a test row.

    Returns:
        1,442 training and 355 test images [8, 8, 1], their 17 grey levels spread over 0..255.

    Raises:
        DataError: scikit-learn is not installed.
    """
    try:
        import sklearn.datasets
    except ImportError as error:
        raise DataError(
            "the data set 'digits' wants scikit-learn, which is not installed: "
            "pip install scikit-learn."
        ) from error
    pixels, labels = sklearn.datasets.load_digits(return_X_y=True)
    images = np.round(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    everything = Split(labels.astype(np.int32), images=images)
    groups = rows_by_class(everything.labels, 10)
    test = np.sort(np.concatenate([rows[::-1][4::5] for rows in groups]))
    train = np.setdiff1d(np.arange(len(everything)), test)
    return Source(
        train=everything.take(train),
        test=everything.take(test),
        class_names=tuple(str(digit) for digit in range(10)),
        notice=NOTICE,
    )
