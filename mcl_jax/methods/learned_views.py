"""Views that are learned: generators make little of what networks' views share, but keep classes.

What Makes for Good Views, arXiv 2005.10243. A `views.learned` generator g changes the pixels of an
image, invertibly, each by itself. One network f1 sees the first channel of g(crop A), another one
f2 the other two of g(crop B), and classifiers c1 and c2 see the same:

    min over g, c1, c2   w_i max over f1, f2 I(g(A)_1; g(B)_2:3) + w_c (CE(c1) + CE(c2))

I is a bound on mutual information that f1 and f2 read (`view_bounds`): the mean over both
directions. ``information_weight`` and ``class_weight`` are w_i and w_c: 1 and 0 learn without
labels, 1 and 1 with some, 0 and 1 by labels alone (f1 and f2 still read the bound). Each step first
moves the networks, views standing still, and then, on the same batch, generators and classifiers
against the networks as they are now.

Of M networks the first half sees the first channel and the second half the others, and the bound is
the mean over all pairs of networks of different halves. With ``generators`` own (this library's)
each of M networks has a generator, a crop and a classifier of its own and sees the first channels
that its generator makes; the bound is the mean over all pairs, and the loss of classes the sum over
networks.

With ``data.labelled_batch`` a batch holds rows of all, which the bound is of, and rows whose labels
count, which classifiers alone see. Without, all rows are for both.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from mcl_jax import cohort as cohorts
from mcl_jax import losses
from mcl_jax.axes import Axes, pmean, positions
from mcl_jax.cohort import Cohort, Group, Output
from mcl_jax.config import ConfigError
from mcl_jax.data import Batch, labelled_run
from mcl_jax.methods import networks, pretrained, view_bounds
from mcl_jax.methods.assembly import key_beside_networks
from mcl_jax.methods.diagnostics import diagnostics
from mcl_jax.methods.learned_pictures import pictures
from mcl_jax.methods.method import Method, Setting, Specs, Update
from mcl_jax.methods.one_view import averaged
from mcl_jax.methods.registry import register
from mcl_jax.methods.row_bank import RowBank, row_bank
from mcl_jax.methods.seeing import recipe_of_view
from mcl_jax.views import Recipe, learned
from mcl_jax.views.draws import folded, row_keys
from mcl_jax.views.learned import LearnedViews

_BESIDE = ("generators", "classifiers")  # parameters that are no network's of the cohort


@register("learned_views")
def learned_views(config: ConfigDict, setting: Setting) -> Method:
    """Builds the method from ``config.method``, whose fields are described in `mcl_jax.config`.

    Raises:
        ConfigError: what `networks.build` and `recipe_of_view` refuse, or rows are too few.
    """
    game = _game(config, setting)
    rate = optax.chain(setting.optimizer, optax.scale(config.method.generator_rate))
    keys = dict(game.cohort.items())

    def is_network(path: str) -> bool:
        return path.split("/")[0] in keys and networks.learns(game.cohort, path)

    def load(params: Any, extras: Any, weights: Any) -> tuple[Any, Any]:
        own, extras = pretrained.load({key: params[key] for key in keys}, extras, weights)
        return {**params, **own}, extras

    bank = {"bank": game.bank.spec} if game.bank else {}
    whole = PartitionSpec()
    return Method(
        game.init,
        game.embed,
        game.objective,
        game.predict,
        (
            Update(setting.optimizer, loss="networks", moves=is_network),
            Update(rate, loss="generators", moves=lambda path: path.split("/")[0] in _BESIDE),
        ),
        specs=Specs(
            params=whole,
            extras={
                **dict.fromkeys(("batch_stats", "classifier_stats", "views", "weights"), whole),
                **bank,
            },
        ),
        read=lambda: pretrained.read(config, setting),
        load=load,
        crop=(game.recipe.crop,) * game.parts,
        classifies=False,
        given=game.given,
        alternating=True,
        leaves=game.leaves,
    )


class _Game(NamedTuple):
    """Networks that read a bound, generators that make it small, classifiers that hold them back.

    Attributes:
        config: of the run.
        cohort: the networks.
        classifier: an encoder, or None where classes do not count.
        recipe: of each view before generators.
        views: shapes of the generators, without parameters.
        bound: on what views share.
        bank: for a bound that is of one.
        axes: of the step.
    """

    config: ConfigDict
    cohort: Cohort
    classifier: nn.Module | None
    recipe: Recipe
    views: LearnedViews
    bound: view_bounds.Bound
    bank: RowBank | None
    axes: Axes

    @property
    def parts(self) -> int:
        """P: so many different things are seen."""
        return self.views.parts

    @property
    def seen_by(self) -> list[int]:
        """[M]: the part that each network sees."""
        size = self.cohort.size
        return [network * self.parts // size for network in range(size)]

    def of_groups(self, parts: list[jax.Array]) -> tuple[jax.Array, ...]:
        """What each group of the cohort sees, of the parts."""
        firsts = [(cohorts.networks_of(key) or (0,))[0] for key, _ in self.cohort.items()]
        return tuple(parts[self.seen_by[first]] for first in firsts)

    def init(self, key: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Parameters and extras; of the batch only the shape matters."""
        beside = key_beside_networks(key)
        generators = tuple(
            self.views.generator.init(jax.random.fold_in(jax.random.fold_in(beside, 1), number))
            for number in range(self.parts if self.views.channels else 1)
        )
        parts = self.plain(generators, batch.images[:1])
        drawn = cohorts.init(self.cohort, key, self.of_groups(parts))
        classifiers: dict[str, Any] = {}
        statistics: dict[str, Any] = {}
        for number, part in enumerate(parts if self.classifier else []):
            assert self.classifier is not None
            own = jax.random.fold_in(jax.random.fold_in(beside, 2), number)
            variables = self.classifier.init(own, part)
            classifiers[str(number)] = variables["params"]
            statistics[str(number)] = variables.get("batch_stats", {})
        params = {**drawn["params"], "generators": generators, "classifiers": classifiers}
        extras: dict[str, Any] = {
            "batch_stats": drawn["batch_stats"],
            "classifier_stats": statistics,
            **self.given(),
        }
        if self.bank is not None:
            extras["bank"] = self.bank.init(beside, drawn["params"])
        return params, extras

    def given(self) -> dict[str, Any]:
        """Numbers of a configuration that the compiled program takes as inputs."""
        options = self.config.method
        weights = {"information": options.information_weight, "class": options.class_weight}
        return {
            "views": self.recipe.numbers(),
            "weights": {name: jnp.asarray(float(x)) for name, x in weights.items()},
        }

    def plain(self, generators: Any, images: jax.Array) -> list[jax.Array]:
        """The parts of images [B, H, W, c] or [B, P, H, W, c], nothing random."""
        pixels = self.recipe.plain(images[:, 0] if images.ndim == 5 else images)
        return [self.views.part(generators, number, pixels) for number in range(self.parts)]

    def embed(
        self, params: Any, extras: Any, batch: Batch, key: jax.Array, train: bool
    ) -> tuple[dict[str, jax.Array], Any]:
        """Embeddings [M, b, D], 0 for rows that classifiers alone see, and logits [P, b, C]."""
        del train
        keys, parts = row_keys(key, batch.position), []
        for number in range(self.parts):
            crops = batch.images[:, number] if batch.images.ndim == 5 else batch.images
            pixels = self.recipe.train(folded(keys, number), crops, extras["views"])
            parts.append(self.views.part(params["generators"], number, pixels))
        before = extras["batch_stats"]
        output, stats = cohorts.apply(
            self.cohort,
            {"params": params, "batch_stats": before},
            self.of_groups([self.every(part) for part in parts]),
            train=True,
        )
        extras = {**extras, "batch_stats": averaged(stats, before, self.axes.data)}
        outputs = {"embeddings": self.spread(output.embeddings, self.every)}
        if self.classifier is not None:
            logits, moved = self.classified(params, extras, parts)
            outputs["logits"] = self.spread(logits, self.labelled)
            before = extras["classifier_stats"]
            extras["classifier_stats"] = averaged(moved, before, self.axes.data)
        return outputs, extras

    def classified(
        self, params: Any, extras: Any, parts: list[jax.Array]
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Logits [P, labelled, C] of the parts' classifiers, and their statistics."""
        assert self.classifier is not None
        logits, moved = [], {}
        for number, part in enumerate(parts):
            name = str(number)
            variables = {
                "params": params["classifiers"][name],
                "batch_stats": extras["classifier_stats"][name],
            }
            (answer, _), changed = self.classifier.apply(
                variables, self.labelled(part), train=True, mutable=["batch_stats"]
            )
            logits.append(answer)
            moved[name] = changed.get("batch_stats", {})
        return jnp.stack(logits), moved

    def objective(
        self, outputs: dict[str, jax.Array], extras: Any, batch: Batch, key: jax.Array
    ) -> tuple[dict[str, jax.Array], tuple[Any, dict[str, jax.Array]]]:
        """The networks' loss, minus the bound, and the generators'."""
        embeddings = jax.vmap(self.every)(outputs["embeddings"])
        rows = self.rows_of_bound(batch)
        pairs = self.bound(embeddings, extras, rows, key)
        seen = jnp.array(self.seen_by)
        apart = seen[:, None] != seen
        bound = jnp.sum(jnp.where(apart, pairs, 0)) / jnp.sum(apart)
        entropies, right = self.of_classes(outputs, batch)
        weights = extras["weights"]
        loss = weights["information"] * bound + weights["class"] * jnp.sum(entropies)
        metrics = {"loss": loss, "bound": bound, **self.readings(embeddings)}
        if self.classifier is not None:
            metrics |= {"cross_entropy": entropies[seen], "accuracy": right[seen]}
        if self.bank is not None:
            extras = {**extras, "bank": self.bank.moved(extras["bank"], embeddings, rows)}
        return {"networks": -bound, "generators": loss}, (extras, metrics)

    def of_classes(
        self, outputs: dict[str, jax.Array], batch: Batch
    ) -> tuple[jax.Array, jax.Array]:
        """Cross-entropy and share of right answers of each part's classifier, [P]; or zeros."""
        if self.classifier is None:
            return jnp.zeros(self.parts), jnp.zeros(self.parts)
        logits, labels = jax.vmap(self.labelled)(outputs["logits"]), self.labelled(batch.labels)
        entropy = optax.softmax_cross_entropy_with_integer_labels(
            logits, jnp.broadcast_to(labels, logits.shape[:2])
        )
        right = (jnp.argmax(logits, axis=-1) == labels).astype(logits.dtype)
        return pmean((entropy.mean(axis=1), right.mean(axis=1)), self.axes.data)

    def readings(self, embeddings: jax.Array) -> dict[str, jax.Array]:
        """`diagnostics` of the networks, a network's keys being those of one that sees others."""
        units = losses.l2_normalize(embeddings)
        peers = jnp.roll(units, self.cohort.size // self.parts, axis=0)
        return diagnostics(units, peers, axis_name=self.axes.data)

    def predict(self, params: Any, extras: Any, images: jax.Array) -> Output:
        """Output of [M, B, ...] for uint8 images [B, H, W, c], nothing random."""
        variables = {"params": params, "batch_stats": extras["batch_stats"]}
        parts = self.plain(params["generators"], images)
        return cohorts.apply(self.cohort, variables, self.of_groups(parts), train=False)[0]

    def leaves(
        self, params: Any, extras: Any, images: np.ndarray
    ) -> Mapping[str, Mapping[str, np.ndarray]]:
        """The generators, and pictures of what they make."""
        del extras
        found = self.views._replace(params=params["generators"])
        pixels = np.asarray(self.recipe.plain(jnp.asarray(images)))
        return {
            "learned_views.npz": learned.arrays(found),
            "pictures.npz": pictures(found, images, pixels),
        }

    def run(self) -> tuple[int, int]:
        """Rows lie in runs of so many, the last few of which classifiers alone see."""
        labelled = self.config.data.labelled_batch
        return labelled_run(self.config.data.batch_size, labelled) if labelled else (1, 0)

    def every(self, rows: jax.Array) -> jax.Array:
        """The rows [n, ...] that the bound is of."""
        size, labelled = self.run()
        return _of_runs(rows, size, slice(0, size - labelled))

    def labelled(self, rows: jax.Array) -> jax.Array:
        """The rows [n, ...] that classifiers see."""
        size, labelled = self.run()
        return _of_runs(rows, size, slice(size - labelled if labelled else 0, size))

    def spread(self, values: jax.Array, chosen: Any) -> jax.Array:
        """Values [k, n, ...] of the rows that ``chosen`` takes, in their places, 0 elsewhere."""
        size = self.run()[0]
        taken = chosen(jnp.arange(size))
        shape = (len(values), -1, len(taken), *values.shape[2:])
        runs = values.reshape(shape)
        empty = jnp.zeros((*runs.shape[:2], size, *runs.shape[3:]), values.dtype)
        return empty.at[:, :, taken].set(runs).reshape(len(values), -1, *values.shape[2:])

    def rows_of_bound(self, batch: Batch) -> Batch:
        """The part of a batch that the bound is of; places are counted among such rows."""
        index = self.every(batch.index)
        return Batch(
            self.every(batch.images),
            self.every(batch.labels),
            index,
            positions(len(index), self.axes.data),
        )


def _game(config: ConfigDict, setting: Setting) -> _Game:
    """Everything of ``config`` that takes part."""
    options = config.method
    cohort = _critics(config, setting)
    recipe = recipe_of_view(
        config, setting.mean, setting.std, setting.image_shape, cropped=setting.cropped
    )
    generator = learned.Generator(
        config.views.channels,
        options.coupling,
        options.generator_blocks,
        options.generator_hidden,
    )
    channels = options.seen_channels if options.generators == "own" else 0
    views = LearnedViews(
        generator, (), tuple(recipe.mean), tuple(recipe.std), cohort.size, channels
    )
    bank = row_bank(config, setting) if options.bound == "bank" else None
    if bank is not None and setting.labels is not None and bank.rows < 2:
        raise ConfigError(f"method.bound bank wants two training rows or more, got {bank.rows}.")
    bound = view_bounds.info_nce(options.temperature, setting.axes.data)
    if options.bound == "dv":
        bound = view_bounds.donsker_varadhan(setting.axes.data)
    if bank is not None:
        bound = view_bounds.of_bank(config, bank)
    classifier = None
    if options.class_weight:
        field = "method.classifier" if options.classifier else "model.name"
        name = options.classifier or networks.names(config)[0]
        classifier = networks.encoder(config, setting, name, field)
    return _Game(config, cohort, classifier, recipe, views, bound, bank, setting.axes)


def _critics(config: ConfigDict, setting: Setting) -> Cohort:
    """The networks that read the bound: halves, or one a group where each has its own view."""
    built = networks.build(config, setting)
    if config.method.bound == "dv":
        head = networks.plain_head(config)
        built = Cohort(tuple(x._replace(network=x.network.clone(head=head)) for x in built.groups))
    if config.method.generators == "shared":
        return built
    return Cohort(tuple(Group(x.network, 1) for x in built.groups for _ in range(x.size)))


def _of_runs(rows: jax.Array, size: int, taken: slice) -> jax.Array:
    """Some rows of each run of ``size``: [n, ...] to fewer."""
    if size == 1:
        return rows
    runs = rows.reshape(-1, size, *rows.shape[1:])[:, taken]
    return runs.reshape(-1, *rows.shape[1:])
