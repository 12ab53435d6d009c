"""The jigsaw branch of InfoMin (arXiv 2005.10243), after PIRL (arXiv 1912.01991).

Nine patches of an image, in any order, are one more query of it: its positives and negatives are
those of the image's own query, and with beta as ``method.jigsaw``,

    L = (1 - beta) L(queries) + beta L(jigsaw queries)

L being the same terms of the same keys. Keys are never of patches, and a bank's rows follow the
queries alone. Patches are cut by `mcl_jax.views.jigsaw`, normalised and divided among networks as
views are, and go through the networks, in training, after the views: running statistics move twice
a step. Each network has an order of its own.

Where halves of the networks see different channels, jigsaw queries meet the other half's keys, as
queries do: the terms are the same. PyContrast swaps them, so that its jigsaw stays within a half.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mcl_jax import cohort as cohorts
from mcl_jax import views
from mcl_jax.cohort import PATCHES, Cohort
from mcl_jax.data import Batch
from mcl_jax.methods.method import Setting
from mcl_jax.methods.one_view import averaged, side_lengths
from mcl_jax.methods.seeing import Numbers, Seeing
from mcl_jax.views.draws import folded, row_keys
from mcl_jax.views.geometry import check_size
from mcl_jax.views.steps import Crop

_SCALE = (0.6, 1.0)  # of the area, what is cut into cells
_CUTS, _ORDERS = 2000, 3000  # draws of patches and of orders, apart from those of views


class Branch(NamedTuple):
    """What jigsaw queries are made with.

    Attributes:
        share: beta, of the loss.
        networks: with jigsaw heads.
        seeing: whose colours, normalisation and division patches have.
        side: of the views, which sets the size of patches (`mcl_jax.views.jigsaw_sides`).
        flips: whether half of the crops are mirrored.
        cropped: whether the host has cropped images at random, the last crop being the jigsaw's.
        data: axis that the batch is split over, or None.
        cohort: axis that networks are split over, or None.
    """

    share: float
    networks: Cohort
    seeing: Seeing
    side: int
    flips: bool
    cropped: bool
    data: str | None
    cohort: str | None

    @property
    def crop(self) -> tuple[Crop | None, ...]:
        """What the host is to cut out of images that it decodes: the views' crops and one more.

        All are as large as the views; the device scales the last one to its cells.
        """
        found = self.seeing.crop
        crops = found if isinstance(found, tuple) else (found,) * len(self.seeing.recipes)
        return (*crops, Crop(3 * views.jigsaw_sides(self.side)[0], _SCALE))

    def patches(
        self, keys: jax.Array, images: jax.Array, numbers: Numbers | None = None
    ) -> tuple[jax.Array, ...]:
        """The patches of images, as networks see them.

        Args:
            keys: [B], JAX random keys, one an image.
            images: uint8 [B, H, W, c], or [B, V, H, W, c] of which the first is the image, or the
                last its crop.
            numbers: of `Seeing`.

        Returns:
            For each group [9 B, h, w, c], those of an image side by side.
        """
        cell, patch = views.jigsaw_sides(self.side)
        if images.ndim == 5:
            images = images[:, -1 if self.cropped else 0]
        height, width = images.shape[1:3]
        chance = 0.5 if self.flips else 0.0
        draw = views.draw_jigsaw(
            folded(keys, _CUTS),
            height,
            width,
            cell=cell,
            patch=patch,
            scale=_SCALE,
            flip_probability=chance,
        )
        if self.cropped:
            whole = jnp.array([0, 0, height, width], jnp.int32)
            draw = draw._replace(boxes=jnp.broadcast_to(whole, draw.boxes.shape))
        cut = views.apply_jigsaw(images, draw, cell=cell, patch=patch)
        return self.seeing.finish(jnp.swapaxes(cut, 0, 1).reshape(-1, *cut.shape[2:]), numbers)

    def orders(self, keys: jax.Array) -> jax.Array:
        """An order of patches for each network and image: keys [B] to int32 [M, B, 9]."""

        def order(number: jax.Array, key: jax.Array) -> jax.Array:
            return jax.random.permutation(jax.random.fold_in(key, number), PATCHES)

        numbers = jnp.arange(_ORDERS, _ORDERS + self.networks.size)
        return jax.vmap(jax.vmap(order, (None, 0)), (0, None))(numbers, keys)

    def embed(
        self, variables: Any, batch: Batch, key: jax.Array, numbers: Numbers | None = None
    ) -> tuple[jax.Array, Any]:
        """Jigsaw queries of a batch.

        Args:
            variables: parameters and batch statistics of the networks, as after the views.
            batch: this device's part.
            key: of the step's views.
            numbers: of `Seeing`.

        Returns:
            Unit vectors [M, B, D], and batch statistics, averaged over devices.
        """
        keys = row_keys(key, batch.position)
        queries, moved = cohorts.apply_patches(
            self.networks,
            variables,
            self.patches(keys, batch.images, numbers),
            self.orders(keys),
            axis_name=self.cohort,
        )
        return queries, averaged(moved, variables["batch_stats"], self.data)

    def mixed(self, loss: jax.Array, of_patches: jax.Array) -> jax.Array:
        """(1 - beta) L(queries) + beta L(jigsaw queries)."""
        return (1 - self.share) * loss + self.share * of_patches


def branch(config: ConfigDict, setting: Setting, networks: Cohort, seeing: Seeing) -> Branch | None:
    """The jigsaw branch of ``config.method``, None where it has none.

    Args:
        config: of the run.
        setting: what the method is built for.
        networks: as `networks.build` makes them.
        seeing: what they see.
    """
    share = config.method.get("jigsaw", 0)
    if not share:
        return None
    recipe = seeing.recipes[0]
    if seeing.patch:
        sides = (seeing.patch, seeing.patch)
    elif setting.image_shape is not None:
        sides = side_lengths(recipe, setting.image_shape)
    else:  # of images of any size a recipe without a crop is CIFAR's
        sides = check_size(recipe.crop.size if recipe.crop else 32)
    return Branch(
        share,
        networks,
        seeing,
        min(sides),
        config.views.flip,
        setting.cropped,
        setting.axes.data,
        setting.axes.cohort,
    )
