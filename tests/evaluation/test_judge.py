"""The figures of a run on data whose answers are known.

Channel m of an image holds, in the first pixel, what network m takes the image for; the second
pixel holds the row, so that a test sees which rows were looked at.
"""

import dataclasses
from typing import Any

import numpy as np
import pytest

from mcl_jax.cohort import Output
from mcl_jax.data import Dataset, Split, colour_histogram
from mcl_jax.evaluation import Judge, knn_accuracy, together

NETWORKS = CLASSES = 3
ROWS = {"train": 24, "validation": 6, "test": 12}


def figures_of(each: float, ensemble: float) -> dict[str, Any]:
    by_network = [each] * NETWORKS
    return {
        "answers": "classifier",
        "accuracy": by_network,
        "ensemble_accuracy": ensemble,
        "knn_accuracy": by_network,
    }


BY_ONE, BY_NONE, BY_ALL = figures_of(2 / 3, 1.0), figures_of(1.0, 1.0), figures_of(0.0, 0.0)


def split(rows: int, mistaken: str = "none") -> Split:
    """Rows that none of the networks mistakes, or each time another ``"one"``, or ``"all"``."""
    index = np.arange(rows)
    labels = (index // 3 % CLASSES).astype(np.int32)
    images = np.random.default_rng(rows).integers(0, 256, (rows, 2, 2, NETWORKS), np.uint8)
    for network in range(NETWORKS):
        wrong = {"none": False, "one": index % 3 == network, "all": True}[mistaken]
        images[:, 0, 0, network] = (labels + wrong) % CLASSES
    images[:, 0, 1] = index[:, None]
    return Split(labels, images=images)


def dataset(name: str = "made up", mistaken: str = "one", **splits: Split) -> Dataset:
    held = {
        part: split(rows, mistaken if part == "test" else "none") for part, rows in ROWS.items()
    }
    return Dataset(name, **{**held, **splits}, class_names=("a", "b", "c"), notice="")


class Predictor:
    """Takes images at their word: three networks in two groups."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, images: np.ndarray) -> Output:
        self.rows.extend(images[:, 0, 1, 0].tolist())
        answers = np.eye(CLASSES, dtype=np.float32)[images[:, 0, 0].T % CLASSES]  # [M, B, C]
        return Output((answers[:2], answers[2:]), answers, answers)


def assert_figures(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, figure in expected.items():
        assert found[name] == pytest.approx(figure)


def judge(data: Dataset, **options: int) -> Judge:
    return Judge(data, **{"batch_size": 5, "neighbours": 3, **options})


@pytest.mark.parametrize(
    ("mistaken", "figures"), [("none", BY_NONE), ("one", BY_ONE), ("all", BY_ALL)]
)
def test_members_and_ensemble_get_the_figures_they_deserve(mistaken, figures):
    data = dataset(mistaken=mistaken)
    full = judge(data).full(Predictor())
    assert list(full) == ["validation", "test"]
    assert_figures(full["test"], figures)
    assert_figures(full["validation"], BY_NONE)
    quick = judge(data).quick(Predictor())
    del full["validation"]["knn_accuracy"]
    assert quick == full["validation"]


def test_what_networks_say_is_handed_on_validation_before_test():
    data, kept = dataset(), []

    def keep(name: str, split: Split, output: Output) -> None:
        kept.append((name, split))
        right = np.mean(np.argmax(output.logits, axis=-1) == split.labels, axis=-1)
        assert right == pytest.approx([1.0] * 3 if name == "validation" else [2 / 3] * 3)

    judge(data).full(Predictor(), keep)
    judge(data).quick(Predictor(), keep)
    assert kept == [("validation", data.validation), ("test", data.test), kept[0]]


def test_a_single_network_is_its_own_ensemble():
    def solo(images: np.ndarray) -> Output:
        whole = Predictor()(images)
        return Output((whole.features[0][:1],), whole.embeddings[:1], whole.logits[:1])

    figures = judge(dataset()).full(solo)["test"]
    assert figures["accuracy"] == pytest.approx([2 / 3])
    assert figures["ensemble_accuracy"] == pytest.approx(2 / 3)
    assert figures["knn_accuracy"] == pytest.approx([2 / 3])


def test_a_split_without_rows_has_no_figures():
    full = judge(dataset(validation=split(0))).full(Predictor())
    assert full["validation"] is None
    assert_figures(full["test"], BY_ONE)


@pytest.mark.parametrize("limit", [1, 9, 23])
def test_so_many_training_rows_are_searched_always_the_same_ones(limit):
    data = dataset()
    seen = []
    for _ in range(2):
        predict = Predictor()
        judge(data, train_rows=limit, batch_size=1).full(predict)
        seen.append(predict.rows[:limit])
        assert len(predict.rows) == limit + ROWS["validation"] + ROWS["test"]
    assert seen[0] == seen[1]
    assert sorted(set(seen[0])) == seen[0]
    assert seen[0] != list(range(limit))


@pytest.mark.parametrize("limit", [24, 50_000])
def test_a_limit_that_is_not_reached_changes_nothing(limit):
    predict = Predictor()
    judge(dataset(), train_rows=limit, batch_size=1).full(predict)
    assert predict.rows[:24] == list(range(24))


def test_labels_of_a_limited_search_are_those_of_its_rows():
    full = judge(dataset(), train_rows=20, neighbours=1).full(Predictor())
    assert_figures(full["test"], BY_ONE)


@pytest.mark.parametrize("limit", [13, 24])
def test_baselines_stand_beside_the_figures(limit):
    data = dataset()
    found = judge(data, train_rows=limit, neighbours=1).baselines(Predictor())
    assert list(found) == ["random network", "raw pixels"]
    assert_figures(found["random network"], {"knn_accuracy": [2 / 3] * 3})
    train = judge(data, train_rows=limit)._train()
    pixels = [x.images.reshape(len(x), -1).astype(float) for x in (train, data.test)]
    expected = knn_accuracy(pixels[0], train.labels, pixels[1], data.test.labels, neighbours=1)
    assert_figures(found["raw pixels"], {"knn_accuracy": [expected]})


def test_photographs_are_told_apart_by_their_colours():
    rng = np.random.default_rng(0)

    def coloured(rows: int) -> Split:
        """Two colours in shares that tell the class, at random places."""
        labels = (np.arange(rows) % CLASSES).astype(np.int32)
        images = np.zeros((rows, 4, 4, 3), np.uint8)
        for image, label in zip(images.reshape(rows, 16, 3), labels, strict=True):
            image[rng.permutation(16)[: 3 + 4 * label]] = 255
        return Split(labels, images=images)

    splits = {"train": coloured(24), "test": coloured(60)}
    found = judge(dataset("photographs", **splits)).baselines(Predictor())
    assert list(found) == ["random network", "raw pixels", "colour histogram"]
    assert found["colour histogram"] == {"knn_accuracy": [1.0]}
    assert found["raw pixels"]["knn_accuracy"][0] < 0.9
    assert "colour histogram" not in judge(dataset(**splits)).baselines(Predictor())
    assert len(np.unique(colour_histogram(splits["test"].images), axis=0)) == CLASSES


def test_streamed_images_have_no_baseline_of_pixels():
    data = dataset()
    streamed = {
        part: Split(getattr(data, part).labels, rows=getattr(data, part).images)
        for part in ("train", "test")
    }
    found = judge(dataclasses.replace(data, **streamed)).baselines(Predictor())
    assert found == {"random network": {"knn_accuracy": pytest.approx([2 / 3] * 3)}}


def test_images_are_loaded_as_the_judge_is_told():
    def load(held: Split, rows: np.ndarray) -> np.ndarray:
        images = np.stack([held.image(row) for row in rows])
        images[:, 0, 0] = np.minimum(images[:, 0, 0], 0)  # every image is taken for class 0
        return images

    data = dataset()
    figures = Judge(data, batch_size=4, load=load).quick(Predictor())
    assert figures["accuracy"] == pytest.approx([np.mean(data.validation.labels == 0)] * 3)


def test_neighbours_answer_for_networks_that_do_not_classify():
    """Logits that say nothing; votes of one network are sure and wrong, of two unsure and right."""
    data = dataset(mistaken="one")

    def silent(images: np.ndarray) -> Output:
        said = Predictor()(images)
        return said._replace(logits=np.zeros_like(said.logits))

    kept = []
    options = {"classifies": False, "neighbours": 1}
    asked = Judge(data, batch_size=5, **options)
    full = asked.full(silent, lambda name, split, output: kept.append(output.logits))
    expected = figures_of(2 / 3, 1.0) | {"answers": "neighbours"}
    assert_figures(full["test"], expected)
    shares = np.exp(kept[1])
    np.testing.assert_allclose(shares.sum(axis=-1), 1, atol=1e-6)
    assert np.isfinite(kept[1]).all()
    quick = asked.quick(silent, lambda name, split, output: kept.append(output.logits))
    assert quick == {name: full["validation"][name] for name in quick}
    np.testing.assert_array_equal(kept[2], kept[0])


def test_votes_of_an_ensemble_are_averaged_and_not_their_logarithms():
    shares = np.array([[[1 - 1e-9, 1e-9]], [[0.4, 0.6]], [[0.4, 0.6]]])
    assert together(np.log(shares), "neighbours").argmax() == 0
    assert together(np.log(shares), "classifier").argmax() == 0
    fewer = np.array([[[1e-9, 1 - 1e-9]], [[0.8, 0.2]], [[0.8, 0.2]]])
    assert together(np.log(fewer), "neighbours").argmax() == 0
    assert together(np.log(fewer), "classifier").argmax() == 1


@pytest.mark.parametrize("limit", [3, 24])
def test_so_many_training_rows_are_asked_for_an_online_figure(limit):
    predict = Predictor()
    options = {"classifies": False, "train_rows": limit, "neighbours": 1}
    Judge(dataset(), batch_size=1, **options).quick(predict)
    assert len(predict.rows) == limit + ROWS["validation"]
