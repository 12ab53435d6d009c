"""One network's weights under PyTorch's names: every architecture, there and back."""

import json
import pathlib
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax import interop, models
from mcl_jax.interop import naming

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
ARCHITECTURES = json.loads((GOLDEN / "torch_models.json").read_text())


def shapes(name, num_classes=100, channels=3, **settings):
    images = jax.ShapeDtypeStruct((1, 32, 32, channels), jnp.float32)
    net = models.create(name, num_classes=num_classes, convolution="plain", **settings)
    return jax.eval_shape(net.init, jax.random.key(0), images)


def filled(tree, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.random(x.shape, np.float32).astype(dtype), tree)


def state_of(name):
    """Weights as PyTorch has them, drawn in its layout."""
    rng = np.random.default_rng(0)
    return {
        key: np.zeros((), np.int64)
        if key.endswith("num_batches_tracked")
        else rng.random(shape, np.float32)
        for key, shape in ARCHITECTURES[name]["state"].items()
    }


def assert_same(ours, theirs):
    """Bit for bit, types and structure included."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert a.tobytes() == np.ascontiguousarray(b).tobytes()


SMALL = filled(shapes("small_resnet", 10, 1))
RESNET20 = interop.to_torch("resnet20", filled(shapes("resnet20")))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_weights_of_the_authors_go_there_and_back(name):
    state = state_of(name)
    assert_same(interop.to_torch(name, interop.load_torch(name, state)), state)


@pytest.mark.parametrize(
    ("name", "entries", "deepest"),
    [("resnet50", 320, "layer3.5.conv3"), ("resnet101", 626, "layer3.22.conv3")],
)
def test_names_of_torchvision(name, entries, deepest):
    variables = filled(shapes(name), np.float16)
    state = interop.to_torch(name, variables)
    assert len(state) == entries
    assert state[f"{deepest}.weight"].shape == (1024, 256, 1, 1)
    assert state["layer4.0.downsample.1.num_batches_tracked"].dtype == np.int64
    assert state["fc.weight"].shape == (100, 2048)
    assert_same(interop.load_torch(name, state), variables)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("small_resnet", {}),
        ("resnet18", {"stem": "small", "width": 0.25}),
        ("wrn_16_2", {"norm": "group"}),
        ("vit_tiny", {}),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, jnp.bfloat16])
def test_variables_go_there_and_back(name, options, dtype):
    variables = filled(shapes(name, 7, 1, **options), dtype)
    state = interop.to_torch(name, variables, **options)
    assert_same(interop.load_torch(name, state, **options), variables)
    counted = any(key.endswith("num_batches_tracked") for key in state)
    assert counted == ("batch_stats" in variables)


def test_names_of_timm():
    images = jax.ShapeDtypeStruct((1, 32, 64, 3), jnp.float32)
    net = models.create("vit_tiny", num_classes=5)
    variables = filled(jax.eval_shape(net.init, jax.random.key(0), images))
    state = interop.to_torch("vit_tiny", variables)
    assert len(state) == 4 + 12 * 12 + 4
    assert state["pos_embed"].shape == (1, 8 * 16 + 1, 192)
    assert state["patch_embed.proj.weight"].shape == (192, 3, 4, 4)
    assert state["blocks.11.attn.qkv.weight"].shape == (576, 192)
    assert state["head.bias"].shape == (5,)
    assert_same(interop.load_torch("vit_tiny", state), variables)


def test_kernels_are_transposed():
    state = state_of("ShuffleNetV2_05x")
    params = interop.load_torch("ShuffleNetV2_05x", state)["params"]
    kernel, weight = params["layer1_0"]["conv1"]["kernel"], state["layer1.0.conv1.weight"]
    assert kernel.shape[2:] == weight.shape[1::-1] == (1, 24)
    np.testing.assert_array_equal(kernel[2, 0, 0, 5], weight[5, 0, 2, 0])
    np.testing.assert_array_equal(params["linear"]["kernel"][9], state["linear.weight"][:, 9])


def drawn(full_name, shape):
    """The weight that the reference outputs were computed with."""
    rng = np.random.default_rng(zlib.crc32(full_name.encode()))
    if full_name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) > 1:
        fan_in = np.prod(shape[1:])
        return rng.normal(0, np.sqrt(2 / fan_in) if len(shape) == 4 else fan_in**-0.5, shape)
    if full_name.endswith("weight"):
        return rng.uniform(0.5, 1.5, shape)
    return rng.normal(0, 0.1, shape)


def test_outputs_are_the_authors():
    state = {
        f"module_list.1.{key}": drawn(f"module_list.1.{key}", shape).astype(np.float32)
        for key, shape in ARCHITECTURES["wrn_16_2"]["state"].items()
        if not key.endswith("num_batches_tracked")
    }
    images = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    net = models.create("wrn_16_2", num_classes=100)
    variables = interop.load_torch("wrn_16_2", state)
    outputs = jax.jit(net.apply)(variables, images.transpose(0, 2, 3, 1))
    expected = np.load(GOLDEN / "torch_models_expected.npz")
    for output, kind in zip(outputs, ("logits", "embedding"), strict=True):
        reference = expected[f"wrn_16_2/{kind}"][1]
        np.testing.assert_allclose(output, reference, rtol=0, atol=1e-4 * np.abs(reference).max())


def test_a_classifier_may_stay_behind():
    state = interop.to_torch("small_resnet", SMALL)
    encoder = interop.to_torch("small_resnet", SMALL, classifier=False)
    assert set(state) - set(encoder) == {"classifier.weight", "classifier.bias"}
    for given in (state, encoder):
        variables = interop.load_torch("small_resnet", given, classifier=False)
        assert "classifier" not in variables["params"]
        assert_same(interop.to_torch("small_resnet", variables, classifier=False), encoder)


def test_what_is_not_read_stays():
    state = interop.to_torch("small_resnet", SMALL)
    mine = jax.tree.map(jnp.asarray, filled(shapes("small_resnet", 3, 1), jnp.bfloat16, 1))
    variables = interop.load_torch("small_resnet", state, classifier=False, into=mine)
    assert variables["params"]["classifier"]["kernel"] is mine["params"]["classifier"]["kernel"]
    expected = jax.tree.map(lambda x: x.astype(jnp.bfloat16), SMALL)
    assert_same(variables["params"]["layer3_0"], expected["params"]["layer3_0"])
    assert_same(variables["batch_stats"], expected["batch_stats"])


def members(head="mcl", **settings):
    """An encoder with its head, as a cohort has it."""
    features = jax.ShapeDtypeStruct((4, 64), jnp.float32)
    net = models.create_head(head, 8, **settings)
    of_head = filled(jax.eval_shape(net.init, jax.random.key(0), features))
    member = {kind: {"encoder": tree} for kind, tree in SMALL.items()}
    for kind, tree in of_head.items():
        member[kind]["head"] = tree
    return member


@pytest.mark.parametrize("head", models.head_names())
def test_heads_go_there_and_back(head):
    member = members(head)
    state = interop.to_torch("small_resnet", member, head=True)
    assert_same(interop.load_torch("small_resnet", state, head=True), member)
    assert state["projection.linear1.weight"].shape[1] == 64
    other = jax.tree.map(np.zeros_like, member)
    assert_same(interop.load_torch("small_resnet", state, head=True, into=other), member)


def test_a_head_may_stay_behind():
    member = members()
    state = interop.to_torch("small_resnet", member, head=True)
    assert_same(interop.to_torch("small_resnet", member), interop.to_torch("small_resnet", SMALL))
    assert_same(interop.load_torch("small_resnet", state), SMALL)
    other = jax.tree.map(np.zeros_like, member)
    variables = interop.load_torch("small_resnet", state, into=other)
    assert variables["params"]["head"]["linear1"]["kernel"] is not None
    assert not variables["params"]["head"]["linear1"]["kernel"].any()
    assert_same(variables["params"]["encoder"], SMALL["params"])


@pytest.mark.parametrize(
    ("prefix", "given"),
    [
        ("module.", None),
        ("module_list.3.", None),
        ("module.module_list.0.", None),
        ("module.encoder_q.", "module.encoder_q."),
    ],
)
def test_prefixes(prefix, given):
    state = {prefix + key: array for key, array in RESNET20.items()}
    rest = {} if given is None else {"module.queue": np.zeros((2, 3), np.float32)}
    assert_same(
        interop.load_torch("resnet20", {**rest, **state}, prefix=given),
        interop.load_torch("resnet20", RESNET20),
    )
    variables = interop.load_torch("resnet20", RESNET20)
    assert_same(interop.to_torch("resnet20", variables, prefix=prefix), state)


class Tensor:
    """What of a PyTorch tensor is used."""

    def __init__(self, array, dtype="torch.float32"):
        self.array, self.dtype = array, dtype

    def detach(self):
        return self

    cpu = detach

    def float(self):
        return Tensor(self.array)

    def numpy(self):
        assert self.dtype != "torch.bfloat16"
        return self.array


def test_tensors_are_taken():
    state = interop.to_torch("small_resnet", filled(SMALL, jnp.bfloat16))
    as_tensors = {
        key: Tensor(array.astype(np.float32), "torch.bfloat16") for key, array in state.items()
    }
    assert_same(
        interop.load_torch("small_resnet", as_tensors), interop.load_torch("small_resnet", state)
    )


def test_copies_are_the_callers():
    variables = interop.load_torch("small_resnet", interop.to_torch("small_resnet", SMALL))
    variables["params"]["bn1"]["scale"][:] = 7
    state = interop.to_torch("small_resnet", variables)
    state["bn1.weight"][:] = 8
    assert (variables["params"]["bn1"]["scale"] == 7).all()


def without(*names):
    return {key: array for key, array in RESNET20.items() if key not in names}


COHORT = {f"module_list.{a}.{key}": x for key, x in RESNET20.items() for a in (0, 1)}
MOMENTUM = {f"module.encoder_{a}.{key}": x for key, x in RESNET20.items() for a in "kq"}
SMALL_STEM = {"stem": "small", "width": 0.25}


@pytest.mark.parametrize(
    ("name", "state", "options", "error", "message"),
    [
        ("resnet20", without("bn1.weight"), {}, ValueError, r"1 missing \(bn1.weight\)\."),
        ("resnet20", {}, {}, ValueError, r"107 missing \(.*, \.\.\.\)\."),
        (
            "resnet20",
            without("classifier.weight", "classifier.bias"),
            {},
            ValueError,
            "2 missing .*; classifier=False leaves the classifier out",
        ),
        (
            "resnet20",
            {**RESNET20, "extra.weight": np.ones(1)},
            {},
            ValueError,
            r"state_dict does not fit 'resnet20': 1 unknown \(extra.weight\)\.",
        ),
        (
            "resnet20",
            {**RESNET20, "bn1.bias": np.ones(3)},
            {},
            ValueError,
            r"1 of another shape \(bn1.bias is \(3,\), not \(16,\)\)\.",
        ),
        ("resnet32", RESNET20, {}, ValueError, "60 missing .*; it looks like 'resnet20'"),
        (
            "resnet18",
            interop.to_torch("resnet18", filled(shapes("resnet18", stem="small")), stem="small"),
            {},
            ValueError,
            r"1 of another shape .*; it looks like 'resnet18', stem='small'\.",
        ),
        ("resnet20", COHORT, {}, ValueError, "2 networks; choose prefix from 'module_list.0.', 'm"),
        (
            "resnet20",
            MOMENTUM,
            {},
            ValueError,
            r"would with prefix='module.encoder_k.' or 'module.encoder_q.'\.",
        ),
        (
            "resnet20",
            RESNET20,
            {"prefix": "net."},
            ValueError,
            "no name of state_dict begins with prefix 'net.'; the first is 'bn1.running_mean'",
        ),
        (
            "resnet20",
            {"net": RESNET20},
            {},
            TypeError,
            r"state_dict\['net'\] is a dictionary; the weights are what lies in it",
        ),
        (
            "resnet20",
            {**RESNET20, "bn1.bias": np.ones(16, np.int32)},
            {},
            TypeError,
            r"state_dict\['bn1.bias'\] must be floating; got int32",
        ),
        ("resnet20", RESNET20, {"dtype": "float32"}, TypeError, "norm, stem, width; got dtype"),
        ("resnet20", RESNET20, {"head": True}, ValueError, "no projection head, no name under"),
        ("resnet_20", RESNET20, {}, ValueError, "unknown encoder 'resnet_20'; did you mean"),
    ],
)
def test_what_does_not_fit_is_said(name, state, options, error, message):
    with pytest.raises(error, match=message):
        interop.load_torch(name, state, **options)


def test_what_does_not_fit_variables_is_said():
    state = interop.to_torch("small_resnet", members(), head=True)
    ten = interop.load_torch("small_resnet", state)
    with pytest.raises(ValueError, match=r"2 of another shape .*; classifier=False leaves"):
        interop.load_torch("small_resnet", state, into=filled(shapes("small_resnet", 3, 1)))
    with pytest.raises(ValueError, match="into already has its shapes; leave out norm"):
        interop.load_torch("small_resnet", state, into=ten, norm="group")
    with pytest.raises(ValueError, match="into to have encoder and head; got an encoder's"):
        interop.load_torch("small_resnet", state, into=ten, head=True)
    with pytest.raises(ValueError, match=r"does not fit 'head': 4 missing \(bn1.*, 2 unknown"):
        interop.load_torch("small_resnet", state, into=members("byol"), head=True)
    with pytest.raises(ValueError, match="variables does not fit 'resnet20'"):
        interop.to_torch("resnet20", ten)
    with pytest.raises(ValueError, match="wants the variables of encoder and head"):
        interop.to_torch("small_resnet", ten, head=True)


@pytest.mark.parametrize("head", models.head_names())
def test_paths_of_heads_follow_from_their_names(head):
    for path, leaf in naming.flatten(members(head)).items():
        if path[1] == "head":
            alone = (path[0], *path[2:])
            assert naming.flax_path(naming.torch_name("", alone), leaf.ndim) == alone
