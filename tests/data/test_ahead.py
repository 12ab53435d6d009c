import threading

import pytest

from mcl_jax.data.ahead import ahead


def test_the_next_item_is_made_while_one_is_used():
    made = [threading.Event() for _ in range(3)]

    def items():
        for number, event in enumerate(made):
            yield number
            event.set()

    numbers = ahead(items())
    assert next(numbers) == 0
    assert made[0].wait(5)
    assert not made[1].is_set()
    assert list(numbers) == [1, 2]


def test_an_error_comes_in_its_turn_and_whatever_happens_the_generator_is_closed():
    ended = []

    def items(count):
        try:
            yield from range(count)
            raise OSError("no more")
        finally:
            ended.append(count)

    numbers = ahead(items(2))
    assert [next(numbers), next(numbers)] == [0, 1]
    with pytest.raises(OSError, match="no more"):
        next(numbers)
    dropped = ahead(items(9))
    next(dropped)
    del dropped
    assert ended == [2, 9]
    assert not [x for x in threading.enumerate() if x.name.startswith("mcl_jax.data.ahead")]
