"""Generators of learned views: undone exactly, of one pixel, with the Jacobian's determinant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax.views import learned
from mcl_jax.views.learned import Generator, LearnedViews

KINDS = [
    ("rgb", "additive"),
    ("ydbdr", "additive"),
    ("rgb", "affine"),
    ("lab", "affine"),
    ("rgb", "two_way"),
]


def drawn(generator, seed=0):
    """Parameters far from the identity."""
    leaves, tree = jax.tree.flatten(generator.init(jax.random.key(seed)))
    rng = np.random.default_rng(seed)
    return tree.unflatten([jnp.asarray(rng.normal(size=x.shape), jnp.float32) for x in leaves])


PIXELS = jnp.asarray(np.random.default_rng(1).normal(size=(2, 5, 4, 3)), jnp.float32)


@pytest.mark.parametrize(("space", "coupling"), KINDS)
def test_a_generator_is_undone_and_has_its_jacobians_determinant(space, coupling):
    generator = Generator(space, coupling, blocks=5, hidden=4)
    params = drawn(generator)

    @jax.jit
    def everything(params, pixels):
        made = generator.forward(params, pixels)
        jacobian = jax.vmap(jax.jacfwd(lambda x: generator.forward(params, x)))(
            pixels.reshape(-1, 3)
        )
        told = generator.log_determinant(params, pixels).reshape(-1)
        return made, generator.inverse(params, made), told, jnp.linalg.slogdet(jacobian)

    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: x.astype(jnp.float64), (params, PIXELS))
        made, back, told, (sign, found) = jax.device_get(everything(*wide))
    assert np.max(np.abs(made - np.asarray(PIXELS))) > 0.5
    np.testing.assert_allclose(back, PIXELS, atol=1e-12)
    assert (sign == 1).all()
    np.testing.assert_allclose(told, found, atol=1e-9)
    if coupling != "affine":
        assert not np.any(told)
    scaled = jax.tree.map(lambda x: 0.3 * x, params)
    back = jax.jit(lambda p, x: generator.inverse(p, generator.forward(p, x)))(scaled, PIXELS)
    np.testing.assert_allclose(back, PIXELS, atol=1e-5)


def test_a_new_generator_is_the_identity_and_learns_at_once():
    for space, coupling in KINDS:
        generator = Generator(space, coupling, blocks=2)
        params = generator.init(jax.random.key(3))

        def squares(params, generator=generator):
            made = generator.forward(params, PIXELS)
            return jnp.sum(made**2), made

        gradient, made = jax.jit(jax.grad(squares, has_aux=True))(params)
        np.testing.assert_array_equal(made, PIXELS)
        assert all(jnp.any(one["w2"] != 0) for one in gradient)


def test_a_pixel_depends_on_itself_alone():
    generator = Generator("ydbdr", "affine", blocks=3)
    params = drawn(generator)
    changed = generator.forward(params, PIXELS.at[1, 2, 3].add(1.0))
    differs = jnp.any(changed != generator.forward(params, PIXELS), axis=-1)
    assert np.argwhere(differs).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("space", ["rgb", "ydbdr"])
def test_couplings_move_the_channels_of_their_space(space):
    moves = [x.moves for x in Generator(space, blocks=4).couplings]
    light, colours = (0,), (1, 2)
    expected = [(0,), (1,), (2,), (0,)] if space == "rgb" else [light, colours, light, colours]
    assert moves == expected
    both = Generator(space, "two_way", blocks=2).couplings
    assert [x.moves for x in both] == [(0,), (1, 2), (0, 1), (2,)]
    assert [x.activated for x in both] == [False, False, True, True]


def test_a_coupling_is_two_layers_by_hand():
    generator = Generator("ydbdr", blocks=2, hidden=4)
    params = jax.tree.map(np.asarray, drawn(generator))
    x = np.asarray(PIXELS[0, 0, 0])
    for place, (moves, reads) in enumerate([([0], [1, 2]), ([1, 2], [0])]):
        one = params[place]
        read = np.maximum(x[reads], 0) if place else x[reads]
        hidden = np.maximum(read @ one["w1"] + one["b1"], 0)
        x = x.copy()
        x[moves] += hidden @ one["w2"] + one["b2"]
    found = generator.forward(params, PIXELS)[0, 0, 0]
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-5)


def test_what_is_saved_is_read(tmp_path):
    generator = Generator("ydbdr", "affine", 3, 5)
    own = LearnedViews(
        generator, (drawn(generator), drawn(generator, 1)), (0.5,) * 3, (2.0,) * 3, 2, 1
    )
    learned.save(tmp_path / "a.npz", own)
    back = learned.load(tmp_path / "a.npz")
    assert back._replace(params=()) == own._replace(params=())
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), back.params, own.params))
    shared = own._replace(params=own.params[:1], channels=0)
    parts = [shared.part(shared.params, number, PIXELS) for number in range(shared.parts)]
    np.testing.assert_array_equal(
        jnp.concatenate(parts, axis=-1), generator.forward(shared.params[0], PIXELS)
    )
    assert own.part(own.params, 1, PIXELS).shape == (2, 5, 4, 1)


def test_a_damaged_file_is_no_learned_views_or_says_nothing(tmp_path):
    generator = Generator(blocks=1, hidden=2)
    views = LearnedViews(
        generator, (generator.init(jax.random.key(0)),), (0.5,) * 3, (0.2,) * 3, 2, 0
    )
    np.savez_compressed(tmp_path / "whole.npz", **learned.arrays(views))
    whole = (tmp_path / "whole.npz").read_bytes()
    said = []
    for place in range(0, len(whole), 37):
        flipped = bytes([*whole[:place], whole[place] ^ 0xFF, *whole[place + 1 :]])
        (tmp_path / "flipped.npz").write_bytes(flipped)
        try:
            learned.load(tmp_path / "flipped.npz")
        except ValueError as error:
            said.append(str(error))
    assert len(said) > 10
    assert all("holds no learned views" in sentence for sentence in said)


@pytest.mark.parametrize("content", [b"nothing", b"", None])
def test_another_file_is_no_learned_views(tmp_path, content):
    path = tmp_path / "other.npz"
    if content is None:
        np.savez(path, a=np.zeros(2))
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="holds no learned views"):
        learned.load(path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"space": "cmyk"}, "space must be one of rgb"),
        ({"coupling": "linear"}, "coupling must be one of additive"),
        ({"blocks": 0}, "blocks must be a whole number, at least 1"),
        ({"hidden": 0}, "hidden must be a whole number, at least 1"),
    ],
)
def test_a_generator_that_cannot_be_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Generator(**options)


def test_pixels_are_floating_and_parameters_of_as_many_couplings():
    generator = Generator()
    params = generator.init(jax.random.key(0))
    with pytest.raises(TypeError, match="pixels must be floating, got uint8"):
        generator.forward(params, jnp.zeros((2, 3), jnp.uint8))
    with pytest.raises(ValueError, match="params must be of 4 couplings, got 3"):
        generator.inverse(params[:3], jnp.zeros((2, 3)))


def test_the_first_block_reads_without_a_relu():
    for coupling, plain in (("additive", 1), ("two_way", 2)):
        activated = [x.activated for x in Generator(coupling=coupling).couplings]
        assert activated == [False] * plain + [True] * (len(activated) - plain)


def test_pixels_have_three_channels():
    generator = Generator()
    with pytest.raises(ValueError, match=r"pixels must be \[\.\.\., 3\], got shape \(2, 4\)"):
        generator.forward(generator.init(jax.random.key(0)), jnp.zeros((2, 4)))
