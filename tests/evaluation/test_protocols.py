"""All protocols together, for encoders whose figures are known."""

import json

import numpy as np
import pytest
from known_answers import CLASSES, clusters, dataset

from mcl_jax.cohort import Output
from mcl_jax.data import DataError
from mcl_jax.evaluation import PARTS, adapted, encoder, evaluate, knn_votes, moved
from mcl_jax.evaluation.figures import TITLES
from mcl_jax.evaluation.panel import Encoded, Panel, answered, concatenated, joined, panel
from mcl_jax.evaluation.spread import spread


def bright(images: np.ndarray) -> np.ndarray:
    """Features that tell the class."""
    level = images.reshape(len(images), -1).mean(axis=1) / 255
    return np.stack([level, level**2, 1 - level], axis=1)


def blind(images: np.ndarray) -> np.ndarray:
    """Features that tell nothing, and differ from image to image."""
    last = images.reshape(len(images), -1)[:, -8:].astype(int)
    return np.sin(37.0 * (last - last.mean(axis=1, keepdims=True).round()))


@pytest.fixture(scope="module")
def found():
    return evaluate(encoder(bright, blind), dataset(), random_network=encoder(blind, blind))


def test_every_figure_has_a_number_for_everyone_it_is_of(found):
    figures = found["figures"]
    small = {"few_10"}  # 36 rows of 3 classes are 12 a class
    assert set(TITLES) - small - {"classifier", "classifier_ece"} <= set(figures) | small
    for name, figure in figures.items():
        assert len(figure["networks"]) == 2
        assert set(figure["baselines"]) == {"random network"} | (
            set() if name.startswith("embeddings") else {"raw pixels"}
        )
        averages = name.startswith(("knn", "linear", "sgd", "few", "classifier"))
        assert (figure["averaged"] is not None) == averages
        assert figure["concatenated"] is not None or name.startswith("classifier")
        assert ("spread" in figure) == name.startswith("few")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["rows"] == {"train": 36, "validation": 12, "test": 24}
    assert (found["classes"], found["best_on_validation"]) == (CLASSES, 0)
    assert np.diag(found["cka"]).tolist() == pytest.approx([1, 1])


def test_features_that_tell_the_class_are_told_from_those_that_do_not(found):
    for name in ("knn_1", "knn_20", "linear", "few_5", "precision_at_1"):
        sees, guesses = found["figures"][name]["networks"]
        assert sees > 0.9
        assert guesses < 0.7
    assert found["figures"]["linear"]["baselines"]["raw pixels"] == [1.0]


def test_a_figure_is_that_of_its_function(found):
    data = dataset()
    votes = knn_votes(
        bright(data.train.images), data.train.labels, bright(data.test.images), classes=CLASSES
    )
    expected = np.mean(votes.argmax(axis=-1) == data.test.labels, axis=-1)
    for k, share in zip((1, 20, 200), expected, strict=True):
        assert found["figures"][f"knn_{k}"]["networks"][0] == pytest.approx(share)
    features, second = bright(data.test.images), moved(data.test.images, np.arange(24))
    for name, value in spread(features, bright(second)).items():
        assert found["figures"][f"features_{name}"]["networks"][0] == pytest.approx(value, rel=1e-3)


def test_logits_are_judged_where_they_are_answers_and_one_network_is_no_ensemble():
    def classifier(images):
        level = images.reshape(len(images), -1).mean(axis=1)
        logits = -np.abs(level[:, None] - 60 * np.arange(CLASSES) - 30)
        return Output((bright(images)[None],), bright(images)[None], logits[None])

    for classifies in (True, False):
        found = evaluate(
            classifier, dataset(), parts=("classifier",), classifies=classifies, batch_size=7
        )
        assert list(found["figures"]) == ["classifier", "classifier_ece"] * classifies
    found = evaluate(classifier, dataset(), parts=("classifier",))["figures"]
    assert found["classifier"]["networks"] == [1.0]
    assert found["classifier"]["averaged"] is found["classifier"]["concatenated"] is None
    assert found["classifier_ece"]["networks"][0] < 0.01


def test_so_many_training_rows_are_used_and_validation_may_be_without_rows():
    data = dataset(validation=0)
    told = []
    found = evaluate(
        encoder(bright, bright),
        data,
        parts=("linear", "few_labels"),
        train_rows=15,
        tell=told.append,
    )
    assert found["rows"] == {"train": 15, "validation": 0, "test": 24}
    assert found["best_on_validation"] is None
    assert found["figures"]["linear"]["networks"] == [1.0, 1.0]
    assert "few_10" not in found["figures"]
    assert "10 labels a class are more than the" in found["notes"][-1]
    assert told == ["features", PARTS["linear"], PARTS["few_labels"]]


def test_colours_are_counted_where_there_are_some():
    found = evaluate(encoder(bright), dataset(channels=3), parts=("knn",))
    assert set(found["figures"]["knn_1"]["baselines"]) == {"raw pixels", "colour histogram"}


def test_baselines_without_networks_are_taken_from_where_they_are_known(found, monkeypatch):
    parts = ("knn", "few_labels", "geometry")
    wanted = evaluate(encoder(blind), dataset(), parts=parts, random_network=encoder(bright))
    monkeypatch.setattr("mcl_jax.evaluation.subjects.pixels", None)  # nobody looks at them again
    taken = evaluate(
        encoder(blind), dataset(), parts=parts, random_network=encoder(bright), like=found
    )
    assert taken == wanted
    assert list(taken["figures"]["few_1"]["spread"]["baselines"]) == [
        "random network",
        "raw pixels",
    ]


def test_baselines_of_other_parts_are_not_enough():
    knn = evaluate(encoder(bright), dataset(), parts=("knn",))
    with pytest.raises(
        ValueError, match=r"^like must have the parts \['linear'\], got \['knn'\]\.$"
    ):
        evaluate(encoder(bright), dataset(), parts=("linear",), like=knn)


def test_a_part_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"parts must be some of classifier, knn.*, got 'x'"):
        evaluate(encoder(bright), dataset(), parts=("x",))


def test_an_ensemble_of_features_has_the_mean_of_cosines():
    rows = [clusters(6, seed=seed).features * (seed + 1) for seed in range(2)]
    whole = concatenated([Encoded(x, x[:0], x) for x in rows])
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in rows]
    expected = np.mean([x @ x.T for x in unit], axis=0)
    np.testing.assert_allclose(whole.test @ whole.test.T / 2, expected, atol=1e-6)
    assert whole.validation.shape == (0, 10)
    assert panel([whole]).concatenated is None


def test_answers_are_averaged_and_draws_joined():
    said = answered(Panel([{"": np.eye(2)}, {"": np.ones((2, 2))}], None, None, {}))
    assert said.averaged is not None
    np.testing.assert_allclose(said.averaged[""], [[1, 0.5], [0.5, 1]])
    draws = [Panel([1.0, x], x, None, {"b": [x]}) for x in (2.0, 4.0)]
    assert joined(draws, np.mean) == Panel([1.0, 3.0], 3.0, None, {"b": [3.0]})


def test_foreign_encoders_may_be_of_different_widths():
    images = dataset().test.images[:4]
    output = encoder(bright, blind)(images)
    assert [x.shape for x in output.features] == [(1, 4, 3), (1, 4, 8)]
    assert output.embeddings.shape == (2, 4, 8)
    np.testing.assert_allclose(np.linalg.norm(output.embeddings, axis=-1), 1, rtol=1e-6)
    assert output.logits.shape == (2, 4, 0)
    with pytest.raises(ValueError, match=r"features \[4, F\] of 4 images, got shape \(4,\)"):
        encoder(lambda images: images.mean(axis=(1, 2, 3)))(images)
    with pytest.raises(ValueError, match="encode must be one function or more"):
        encoder()


def test_images_are_adapted_in_size_and_channels():
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 4, 3), np.uint8)
    assert adapted(images, (6, 4, 3)) is images
    gray = adapted(images, (6, 4, 1))
    expected = images @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(gray[..., 0], expected, atol=0.5)
    np.testing.assert_array_equal(adapted(gray, (6, 4, 3)), np.repeat(gray, 3, axis=-1))
    flat = np.full((1, 9, 9, 1), 77, np.uint8)
    assert np.unique(adapted(flat, (4, 5, 3))).tolist() == [77]
    assert adapted(images, (12, 8, 3)).shape == (3, 12, 8, 3)
    with pytest.raises(DataError, match=r"images with 2 channels, .* got 3 channels"):
        adapted(images, (6, 4, 2))


def test_second_views_move_each_image_by_its_own_key():
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 8, 1), np.uint8)
    keys = np.arange(20)
    second = moved(images, keys)
    np.testing.assert_array_equal(moved(images[5:9], keys[5:9]), second[5:9])
    for image, other in zip(images[..., 0], second[..., 0], strict=True):
        found = [
            (down, right)
            for down in (-2, -1, 0, 1, 2)
            for right in (-1, 0, 1)
            if np.array_equal(np.roll(image, (down, right), (0, 1))[2:-2, 1:-1], other[2:-2, 1:-1])
        ]
        assert len(found) == 1
