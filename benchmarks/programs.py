"""Training steps to be timed: ours, and what one would write instead."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mcl_jax import config as config_lib
from mcl_jax import methods
from mcl_jax.axes import Axes
from mcl_jax.compilation import keep_compiled_programs
from mcl_jax.data import Batch, Dataset, Split
from mcl_jax.methods import Setting, Update
from mcl_jax.training import optimizer, parallel, run
from mcl_jax.training.gradients import Differentiator
from mcl_jax.training.state import TrainState, transformation
from mcl_jax.training.step import train_step

CLASSES = 100
VARIANTS = ("ours", "loop", "jits", "vmap", "losses")


@dataclasses.dataclass(frozen=True)
class Task:
    """What is timed: ``networks`` of ``model`` (or one of each, joined by commas), a batch."""

    model: str = "resnet32"
    networks: int = 2
    batch: int = 128
    side: int = 32
    dtype: str = "float32"

    @property
    def alone(self) -> "Task":
        """One network of the same kind."""
        return dataclasses.replace(self, networks=1)

    def config(self):
        """The configuration; views off, as PyTorch's step has none."""
        config = config_lib.default()
        config.method.networks = self.networks
        config.model.name, config.model.dtype = self.model, self.dtype
        config.views.padding, config.views.flip = 0, False
        config.data.batch_size, config.data.sampler = self.batch, "shuffled"
        config.data.mean, config.data.std = (0.5,) * 3, (0.25,) * 3
        config.training.steps, config.evaluation.knn_neighbours = 1000, 1
        return config

    def dataset(self) -> Dataset:
        """One batch of noise."""
        rows = np.arange(self.batch)
        shape = (self.batch, self.side, self.side, 3)
        images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        split = Split((rows // 2 % CLASSES).astype(np.int32), images=images)
        names = tuple(map(str, range(CLASSES)))
        return Dataset("noise", split, split, split, names, "made up")

    def batch_of(self) -> Batch:
        """That batch, on the device."""
        split, rows = self.dataset().train, np.arange(self.batch, dtype=np.int32)
        return jax.device_put(Batch(split.images, split.labels, rows, rows))

    def method(self, config=None):
        """The method without mapped axes."""
        config = config or self.config()
        descent = optimizer.create(config.optimizer, 1000, 100)
        return methods.create(
            config, Setting(CLASSES, (0.5,) * 3, (0.25,) * 3, Axes(None), 1, descent)
        ), descent


def prepared(task: Task, mapper, **changes):
    """A run, its first state and its data."""
    config = task.config()
    config.update_from_flattened_dict(changes)
    made = run.prepare(config, task.dataset(), mapper)
    state = run.initial_state(config, made)
    return made, state, next(run.batches(config, made, state))


def build(variant: str, task: Task) -> Callable[[], None]:
    """A function that does one step when called."""
    keep_compiled_programs()
    return {"ours": _ours, "vmap": _ours, "loop": _loop, "jits": _jits, "losses": _losses}[variant](
        task, variant
    )


def _stepping(step, held, *data) -> Callable[[], None]:
    def one() -> None:
        nonlocal held
        held = step(held, *data)
        jax.block_until_ready(held)

    return one


def _ours(task: Task, variant: str) -> Callable[[], None]:
    convolution = "plain" if variant == "vmap" else "per_network"
    made, state, data = prepared(
        task, parallel.create("shard_map", 1), **{"model.convolution": convolution}
    )
    return _stepping(lambda state, data: made.step(state, data)[0], state, data)


def _apart(task: Task):
    """M single networks: the method of one, its (params, extras) M times, the objective of M."""
    alone, descent = task.alone.method()
    batch = task.batch_of()
    init = jax.jit(alone.init)
    members = [init(jax.random.key(a), batch) for a in range(task.networks)]
    return alone, descent, members, task.method()[0].objective, batch


def _loop(task: Task, variant: str) -> Callable[[], None]:
    """The networks one after the other inside one jitted step."""
    del variant
    alone, descent, members, objective, batch = _apart(task)
    params, extras = (tuple(x) for x in zip(*members, strict=True))

    def embed(params, extras, batch, key, train):
        each = [alone.embed(p, e, batch, key, train) for p, e in zip(params, extras, strict=True)]
        outputs, extras = zip(*each, strict=True)
        return joined(outputs), extras

    method = dataclasses.replace(
        alone, embed=embed, objective=objective, updates=(Update(descent),)
    )
    gradients = Differentiator(method, Axes(None), 1, True)
    moments = tuple(transformation(update).init(params) for update in method.updates)
    start = (jnp.int32(0), params, extras, moments, jax.random.key(0), jnp.bool_(True))
    state = TrainState(*start)
    step = jax.jit(lambda state, batch: train_step(gradients, state, batch)[0], donate_argnums=0)
    return _stepping(step, state, batch)


def joined(outputs):
    """Outputs of single networks as the output of a cohort."""
    features = tuple(x for output in outputs for x in output.features)
    both = (jnp.concatenate([getattr(o, n) for o in outputs]) for n in ("embeddings", "logits"))
    return type(outputs[0])(features, *both)


def _jits(task: Task, variant: str) -> Callable[[], None]:
    """Separately jitted networks: a loop in Python goes forward, another one back."""
    del variant
    alone, descent, members, objective, batch = _apart(task)
    key = jax.random.key(0)

    @jax.jit
    def forward(params, extras, batch):
        return jax.vjp(lambda p: alone.embed(p, extras, batch, key, True), params, has_aux=True)

    @jax.jit
    def compare(outputs, batch):
        return jax.grad(lambda o: objective(joined(o), None, batch, key)[0])(outputs)

    def backward(pull, cotangent, params, moments):
        deltas, moments = descent.update(pull(cotangent)[0], moments, params)
        return optax.apply_updates(params, deltas), moments

    backward = jax.jit(backward, donate_argnums=(2, 3))
    held = [(params, extras, descent.init(params)) for params, extras in members]

    def step(held, batch):
        seen = [forward(params, extras, batch) for params, extras, _ in held]
        cotangents = compare(tuple(output for output, _, _ in seen), batch)
        moved = [
            (*backward(pull, c, params, moments), extras)
            for (_, pull, extras), c, (params, _, moments) in zip(
                seen, cotangents, held, strict=True
            )
        ]
        return [(params, extras, moments) for params, moments, extras in moved]

    return _stepping(step, held, batch)


def _losses(task: Task, variant: str) -> Callable[[], None]:
    """The objective alone, value and gradient, on outputs that are given."""
    del variant
    method, _ = task.method()
    batch, key = task.batch_of(), jax.random.key(0)
    params, extras = jax.eval_shape(method.init, key, batch)
    shapes = jax.eval_shape(lambda p, e: method.embed(p, e, batch, key, True)[0], params, extras)
    leaves, tree = jax.tree.flatten(shapes)
    keys = jax.random.split(key, len(leaves))
    outputs = tree.unflatten(
        [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    )
    gradient = jax.jit(jax.grad(lambda o, batch: method.objective(o, extras, batch, key)[0]))
    # What it is asked about changes from step to step, as it does in training.
    return _stepping(gradient, outputs, batch)
