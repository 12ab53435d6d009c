"""How networks look at a view: at all of it, at its quarters two by two, or at small crops.

========== ======= =========================================================================
look       C       what is embedded
========== ======= =========================================================================
``global`` 1       the view
``local``  6       the view is split 2 x 2; features of each two quarters are averaged before
                   the head (Fast-MoCo, arXiv 2207.08220, and arXiv 2306.15930)
``crops``  n       n small crops of the image, drawn for each view (SwAV's, arXiv 2006.09882)
========== ======= =========================================================================

Looks are joined by ``+``, and given one for all networks or one for each, joined by commas.
Networks of fewer embeddings than others repeat theirs: a mean over all C weighs each alike.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mcl_jax import cohort as cohorts
from mcl_jax import views
from mcl_jax.axes import Axes, gather
from mcl_jax.cohort import Cohort
from mcl_jax.config import ConfigError, Looks
from mcl_jax.data import Batch
from mcl_jax.methods.method import Setting
from mcl_jax.methods.one_view import averaged, side_lengths
from mcl_jax.methods.seeing import Seeing, seeing
from mcl_jax.views.draws import folded, row_keys
from mcl_jax.views.geometry import check_size, resize
from mcl_jax.views.pixels import to_float
from mcl_jax.views.steps import Crop

_SMALL = 4000  # draws of small crops, apart from those of views


class Embedded(NamedTuple):
    """What a cohort makes of a view.

    Attributes:
        projections: [M, B, C, D], of the heads, of any length.
        predictions: [M, B, C, D], of the predictors; the projections where there are none.
    """

    projections: jax.Array
    predictions: jax.Array


class Looking(NamedTuple):
    """Networks, and what they can look at.

    Attributes:
        networks: with predictors.
        whole: V views of an image.
        small: as many small crops as each of these has, or None.
        axes: mapped axes.
    """

    networks: Cohort
    whole: Seeing
    small: Seeing | None
    axes: Axes

    @property
    def crop(self) -> tuple[Crop | None, ...]:
        """What the host cuts out of images that it decodes: V views, then each view's small crops.

        All are as large as the views; the device scales small ones down.
        """
        found = self.whole.crop
        crops = found if isinstance(found, tuple) else (found,) * len(self.whole.recipes)
        if self.small is None:
            return crops
        own, first = [recipe.crop for recipe in self.small.recipes], crops[0]
        assert first is not None
        small = tuple(Crop(first.size, crop.scale) for crop in own if crop)
        return crops + small * len(self.whole.recipes)

    def numbers(self) -> dict[str, Any]:
        """What a sweep changes of views without changing their shapes, for ``extras``."""
        found: dict[str, Any] = {"views": self.whole.numbers()}
        return found if self.small is None else {**found, "small_views": self.small.numbers()}

    def embed(
        self,
        variables: Any,
        looks: Sequence[Looks],
        view: int,
        batch: Batch,
        key: jax.Array,
        extras: Any,
        *,
        predict: bool = True,
    ) -> tuple[Embedded, Any]:
        """Shows a view to every network, in training.

        Args:
            variables: parameters and batch statistics.
            looks: of each group.
            view: its number.
            batch: this device's part.
            key: of the step's views.
            extras: with what `numbers` gives.
            predict: whether predictors follow.

        Returns:
            What the networks make of it, and their batch statistics, averaged over devices.
        """
        keys, before = row_keys(key, batch.position), variables["batch_stats"]
        found: list[list[tuple[jax.Array, jax.Array]]] = [[] for _ in looks]
        for kind in dict.fromkeys(kind for own in looks for kind in own):
            parts = self._parts(kind, view, keys, batch.images, extras)
            shown = tuple(
                part if kind in own else None for part, own in zip(parts, looks, strict=True)
            )
            combine = _pairs if kind == "local" else None
            outputs, stats = cohorts.look(
                self.networks, variables, shown, combine=combine, predict=predict
            )
            variables = {**variables, "batch_stats": stats}
            for group, output in zip(found, outputs, strict=True):
                group.extend([] if output is None else [output])
        moved = averaged(variables["batch_stats"], before, self.axes.data)
        each = [[jnp.concatenate(x, axis=2) for x in zip(*own, strict=True)] for own in found]
        count = math.lcm(*(own[0].shape[2] for own in each))
        joined = (
            jnp.concatenate([jnp.tile(x, (1, 1, count // x.shape[2], 1)) for x in of_groups])
            for of_groups in zip(*each, strict=True)
        )
        return Embedded(*(gather(x, self.axes.cohort) for x in joined)), moved

    def _parts(
        self, kind: str, view: int, keys: jax.Array, images: jax.Array, extras: Any
    ) -> tuple[jax.Array, ...]:
        """What a look is at, for each group: [B, P, h, w, c]."""
        if kind != "crops":
            seen = self.whole.view(view, keys, images, extras["views"])
            if kind == "global":
                return tuple(x[:, None] for x in seen)
            return tuple(jnp.swapaxes(views.split_2x2(x), 0, 1) for x in seen)
        assert self.small is not None
        count, crop = len(self.small.recipes), self.small.recipes[0].crop
        assert crop is not None
        if images.ndim == 5:
            first = len(self.whole.recipes) + view * count
            rows = images[:, first : first + count]
            scaled = resize(to_float(rows.reshape(-1, *rows.shape[2:])), check_size(crop.size))
            images = scaled.reshape(*rows.shape[:2], *scaled.shape[1:])
        own = folded(keys, _SMALL + view)
        each = [self.small.view(n, own, images, extras["small_views"]) for n in range(count)]
        return tuple(jnp.stack(x, axis=1) for x in zip(*each, strict=True))


def _pairs(features: jax.Array) -> jax.Array:
    """Means of each two of four quarters' features: [4, B, F] to [6, B, F]."""
    return views.combinations(features, 2)


def looking(
    config: ConfigDict, setting: Setting, networks: Cohort, number: int, wanted: set[str]
) -> Looking:
    """What ``config.views`` lets a cohort look at.

    Args:
        config: of the run.
        setting: what the method is built for.
        networks: as `networks.build` makes them.
        number: V, views of an image.
        wanted: the looks that there are.

    Raises:
        ConfigError: as `seeing`; views cannot be split, or small crops not be cut.
    """
    whole = seeing(config, setting, networks, number)
    sides = None
    if setting.image_shape is not None:
        sides = side_lengths(whole.recipes[0], setting.image_shape)
    if "local" in wanted and sides is not None and (sides[0] % 2 or sides[1] % 2):
        raise ConfigError(
            f"views must have even sides to be split for a local look, got {sides[0]} x "
            f"{sides[1]}; views.size sets them, of a views.recipe with a crop."
        )
    small = _small(config, setting, networks, whole, sides) if "crops" in wanted else None
    return Looking(networks, whole, small, setting.axes)


def _small(
    config: ConfigDict,
    setting: Setting,
    networks: Cohort,
    whole: Seeing,
    sides: tuple[int, int] | None,
) -> Seeing:
    """Small crops, by the recipe of the views."""
    if whole.recipes[0].crop is None:
        raise ConfigError(
            f"views.small_crops wants a views.recipe that begins with a crop, got "
            f"{config.views.recipe}."
        )
    own = config.copy_and_resolve_references()
    own.views.size = config.views.small_size or min(sides or (64,)) // 2
    own.views.crop_scale = config.views.small_scale
    own.views.second_recipe = ""
    if setting.cropped and setting.image_shape is not None:
        # What the host has cropped is scaled before the recipe sees it.
        side, channels = own.views.size, setting.image_shape[-1]
        setting = setting._replace(image_shape=(side, side, channels))
    try:
        found = seeing(own, setting, networks, 1)
    except ConfigError as error:
        raise ConfigError(f"small crops (views.small_crops): {error}") from error
    return found._replace(recipes=found.recipes * config.views.small_crops)
