import numpy as np

from mcl_jax.data.lending import Borrower, Lender


def images(value: int) -> list[np.ndarray]:
    return [np.full([3, 4, 1], value + number, np.uint8) for number in range(2)]


def test_memory_is_used_again_when_it_is_given_back_and_not_before():
    lender, borrower = Lender(), Borrower()
    first, second = lender.lend(images(1)), lender.lend(images(3))
    assert first.name != second.name
    np.testing.assert_array_equal(borrower.look_at(first), images(1))
    np.testing.assert_array_equal(borrower.look_at(second), images(3))
    borrower.give_back(second)
    third = lender.lend(images(5)[:1])
    assert third.name == second.name
    assert borrower.look_at(third).shape == (1, 3, 4, 1)
    assert lender.lend(images(7)).name not in (first.name, second.name)
    np.testing.assert_array_equal(borrower.look_at(first), images(1))
    borrower.close()
