import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax import data

KEY = jax.random.key(0)
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(6), [3, 4, 5, 9, 20, 3]))


def balanced(batch_size: int = 8, images_per_class: int = 2) -> data.PerClass:
    return data.per_class(
        LABELS, batch_size=batch_size, images_per_class=images_per_class, num_classes=6
    )


SAMPLERS = [balanced(), data.shuffled(len(LABELS), 8)]


@pytest.mark.parametrize("images_per_class", [2, 3])
def test_a_batch_has_distinct_classes_and_as_many_distinct_rows_of_each(images_per_class):
    sampler = balanced(4 * images_per_class, images_per_class)
    for step in range(20):
        rows = np.asarray(sampler(KEY, step))
        assert rows.dtype == np.int32
        assert len(set(rows.tolist())) == len(rows)
        classes = LABELS[rows].reshape(4, images_per_class)
        assert (classes == classes[:, :1]).all()
        assert len(set(classes[:, 0].tolist())) == 4


def test_rows_of_a_class_are_drawn_evenly():
    sampler = balanced(12, 2)
    rows = np.asarray(jax.vmap(lambda step: sampler(KEY, step))(jnp.arange(4000)))
    counts = np.bincount(rows.ravel(), minlength=len(LABELS))
    expected = 4000 * 2 / np.bincount(LABELS)[LABELS]
    # Six standard deviations of a binomial count.
    assert (abs(counts - expected) < 6 * np.sqrt(expected)).all()


def test_all_classes_and_all_rows_of_the_smallest_can_be_asked_for():
    rows = np.asarray(balanced(18, 3)(KEY, 0))
    for label in (0, 5):
        of_class = set(rows[LABELS[rows] == label].tolist())
        assert of_class == {row for row, found in enumerate(LABELS) if found == label}


def test_every_row_comes_once_an_epoch_in_a_new_order():
    sampler = data.shuffled(12, 4)
    epochs = [
        np.concatenate([sampler(KEY, 3 * epoch + step) for step in range(3)]) for epoch in range(3)
    ]
    for rows in epochs:
        assert rows.dtype == np.int32
        assert sorted(rows.tolist()) == list(range(12))
    assert (epochs[0] != epochs[1]).any()


def test_rows_that_fill_no_batch_are_left_out():
    sampler = data.shuffled(10, 4)
    assert data.steps_per_epoch(sampler) == 2
    rows = np.concatenate([sampler(KEY, step) for step in range(2)])
    assert len(set(rows.tolist())) == 8
    assert set(rows.tolist()) != set(np.concatenate([sampler(KEY, 2), sampler(KEY, 3)]).tolist())


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["per_class", "shuffled"])
def test_a_step_depends_on_key_and_step_alone_and_jit_changes_nothing(sampler):
    compiled = jax.jit(data.draw)
    forward = [np.asarray(compiled(sampler, KEY, step)) for step in range(8)]
    for step in (7, 2, 5):
        np.testing.assert_array_equal(data.draw(sampler, KEY, step), forward[step])
    assert (forward[0] != forward[1]).any()
    assert (np.asarray(sampler(jax.random.key(1), 0)) != forward[0]).any()


def test_tables_are_arguments_of_a_compiled_function():
    jaxpr = jax.make_jaxpr(data.draw)(balanced(), KEY, 0)
    assert not any(np.size(const) > 1 for const in jaxpr.consts)
    assert len(jax.tree.leaves(balanced())) == 2


def test_steps_per_epoch_counts_whole_batches():
    assert data.steps_per_epoch(balanced(8, 2)) == len(LABELS) // 8
    assert data.steps_per_epoch(data.shuffled(7, 7)) == 1


@pytest.mark.parametrize(
    ("batch_size", "images_per_class", "message"),
    [
        (7, 2, "batch_size must be a multiple of images_per_class=2, got 7"),
        (0, 2, "batch_size must be a multiple of images_per_class=2, got 0"),
        (14, 2, r"wants 7 classes in a batch, but there are 6; the largest .* batch_size=12\."),
        (8, 4, "images_per_class must be at most .* got 4 where class 0 has 3"),
        (4, 1, "images_per_class must be at least 2"),
    ],
)
def test_sizes_that_do_not_go_together_are_named(batch_size, images_per_class, message):
    with pytest.raises(data.DataError, match=message):
        balanced(batch_size, images_per_class)


def test_labels_are_checked():
    with pytest.raises(data.DataError, match=r"labels must be integers \[N\], got float64"):
        data.per_class(np.zeros(4), batch_size=2, images_per_class=2, num_classes=1)
    with pytest.raises(data.DataError, match=r"0\.\.1 \(2 classes\), got 5"):
        data.per_class(np.array([0, 5]), batch_size=2, images_per_class=2, num_classes=2)


@pytest.mark.parametrize("batch_size", [0, 11])
def test_a_batch_is_not_larger_than_the_rows(batch_size):
    with pytest.raises(data.DataError, match=f"1 to the 10 rows there are, got {batch_size}"):
        data.shuffled(10, batch_size)
