"""``python -m mcl_jax.views``: the page that it writes, and what it says of mistakes."""

import functools
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from mcl_jax import meter, views
from mcl_jax.evaluation import shared
from mcl_jax.views import __main__ as command

ROOT = pathlib.Path(__file__).parents[2]
FILE = "--config=configs/quickstart.py"
DIGITS = "--config=configs/quickstart.py:smoke"


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def failure(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one sentence that ends the command."""
    assert command.main([str(word) for word in words]) == 1
    out, said = capsys.readouterr()
    assert out == ""
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said.removeprefix("error: ").rstrip("\n")


def test_the_page_is_written_whole_and_its_path_printed(tmp_path):
    page = tmp_path / "views.html"
    words = [DIGITS, "--images=3", "--views", "2", f"--output={page}"]
    process = subprocess.run(
        [sys.executable, "-W", "error", "-m", "mcl_jax.views", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (process.returncode, process.stderr, process.stdout) == (0, "", f"{page}\n")
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 3 * (1 + 2)
    assert len(re.findall(r"<li[^>]*>moved \d (up|down), \d (left|right)</li>", text)) == 3 * 2
    assert "pad 1 black pixels on each side" in text
    assert "become views of 8 x 8" in text
    assert f"--images=3 --views 2 --output={page}" in text
    assert text.endswith("</html>\n") or text.endswith("</html>")
    # All of it is in the one file.
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert [path.name for path in tmp_path.iterdir()] == ["views.html"]


def test_a_page_of_two_views_shows_both_recipes(tmp_path):
    page = tmp_path / "views.html"
    words = ["--config=configs/quickstart_moco.py:smoke", "--config.views.recipe=imagenet"]
    words += ["--config.views.second_recipe=cifar", "--config.views.channels=lab"]
    words += ["--config.data.source=photographs", "--config.data.train_size=140"]
    words += ["--config.data.validation_size=0"]
    assert command.main([*words, "--images=1", "--views=1", f"--output={page}"]) == 0
    text = page.read_text(encoding="utf-8")
    # Below the view the first channel, and the other two apart.
    assert text.count("data:image/png;base64,") == 2 * (1 + 1 + 1 + 2)
    assert "what network 1 sees of it" in text
    assert text.index("recipe of the first view") < text.index("recipe of the second view")
    assert "Method moco takes two views of an image, one of each recipe." in text
    assert "Half of the networks see the first channel of lab alone" in text
    assert text.count("convert to lab") == 2


def test_what_two_views_share_is_printed(tmp_path, capsys, monkeypatch):
    quick = functools.partial(
        shared.shared_information, settings=meter.Settings(steps=2, batch_size=16, width=4)
    )
    monkeypatch.setattr(shared, "shared_information", quick)
    page = f"--output={tmp_path / 'views.html'}"
    words = [page, "--images=1", "--views=1", "--information", "--config.data.batch_size=16"]
    assert command.main(["--config=configs/sweep_views.py:smoke", *words]) == 0
    views_share, colours, *warned, written = capsys.readouterr().out.splitlines()
    assert views_share.startswith("Views share: InfoNCE ")
    assert colours.startswith("Colours: InfoNCE ")
    assert all(line.startswith("Warning: colours alone tell") for line in warned)
    assert written == str(tmp_path / "views.html")
    assert failure(capsys, DIGITS, *words) == (
        "--information wants a method that contrasts views of an image, such as moco or simclr, "
        "got supervised_mcl."
    )


def test_a_page_of_patches_and_frequencies_shows_both(tmp_path):
    page = tmp_path / "views.html"
    words = ["--config=configs/quickstart_moco.py:smoke", "--config.views.patch_size=4"]
    words += ["--config.views.patch_distance=2", "--config.views.frequency=0.7"]
    assert command.main([*words, "--images=1", "--views=2", f"--output={page}"]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 2 * (1 + 2 * (1 + 2))
    corners = re.findall(r"<li>patch at row (\d), column (\d)</li>", text)
    rows = np.array(corners, int).reshape(2, 2, 2)  # of the first view's patches, of the second's
    assert np.array_equal(rows[1] - rows[0], np.full((2, 2), 2))
    assert "2 pixels below and to the right of the first view" in text
    assert text.count("become views of 4 x 4") == 1
    assert "% of the area" not in text


def test_a_page_of_streamed_images_tells_of_the_host(tmp_path, capsys, monkeypatch):
    split = streamed(20)
    dataset = np_dataset(split)
    monkeypatch.setattr("mcl_jax.data.load", lambda *given, **more: dataset)
    page = tmp_path / "views.html"
    words = [DIGITS, "--config.data.source=folder:x", "--config.views.recipe=imagenet"]
    words += ["--images=2", "--views=1", f"--output={page}"]
    sized = [*words, "--config.data.image_size=6"]
    assert failure(capsys, *words).startswith("data.image_size must be given for folder:x")
    assert failure(capsys, *sized).startswith("data.mean and data.std must be given for folder:x")
    assert command.main([*sized, "--config.data.mean=(.5,)", "--config.data.std=(.2,)"]) == 0
    text = page.read_text(encoding="utf-8")
    assert "In training the host crops each one" in text
    assert "gray images of 12 x 12 pixels become views of 6 x 6" in text
    assert len(re.findall(r"<li>crop \d+ x \d+ at row \d+, column \d+</li>", text)) == 2


def streamed(rows):
    from mcl_jax.data import Split

    images = [np.full((9 + row, 11, 1), row, np.uint8) for row in range(rows)]
    return Split(np.arange(rows, dtype=np.int32), rows=images)


def np_dataset(split):
    from mcl_jax.data import Dataset

    names = tuple(f"<class {number}>" for number in range(len(split)))
    return Dataset("folder:x", split, split, split, names, "notice")


def test_one_of_each_class_comes_first():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 0])
    rows = command._of_all_classes(labels, np.random.default_rng(0))
    assert sorted(rows) == list(range(8))
    assert set(labels[rows[:3]]) == {0, 1, 2}
    assert set(labels[rows[3:5]]) == {0, 1}


def test_help_explains(capsys):
    assert command.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("--images=8", "--output=", "--config.views.recipe="))
    assert max(map(len, text.splitlines())) <= 100


MISTAKES = [
    ([], "--config is missing; try --config=configs/quickstart.py, or --help."),
    (["--nope"], "there is no flag --nope; --help lists all."),
    ([FILE, "--image=3"], "there is no flag --image; did you mean --images?"),
    ([FILE, "--workdir=x"], "there is no flag --workdir; --help lists all."),
    (
        [FILE, "--views.recipe=simclr"],
        "there is no flag --views.recipe; did you mean --config.views.recipe?",
    ),
    ([FILE, "--images"], "--images wants a value, got none."),
    ([FILE, "--help=yes"], "--help/-h takes no value."),
    ([FILE, "--views=2", "--views", "3"], "--views must be given once, got it 2 times."),
    ([FILE, "--images=0"], "--images must be a whole number, at least 1, got '0'."),
    ([FILE, "--views=two"], "--views must be a whole number, at least 1, got 'two'."),
    ([FILE, "--output="], "--output must be a file, got nothing."),
    ([FILE, "x"], "'x' belongs to no flag; flags look like --config=FILE."),
    ([FILE, "--config.views.flip=2"], "views.flip must be true or false, got '2'."),
    (
        [DIGITS, "--images=300"],
        "--images must be at most the 200 training rows, got 300.",
    ),
    (
        [DIGITS, "--config.views.recipe=simlcr"],
        f"views.recipe must be one of {', '.join(views.RECIPES)}, got 'simlcr'; did you mean "
        "simclr?",
    ),
    (
        [DIGITS, "--config.views.padding=8"],
        "views.padding must be below the side of the images, 8, got 8.",
    ),
]


@pytest.mark.parametrize(("words", "sentence"), MISTAKES, ids=lambda x: str(x)[:50])
def test_a_mistake_is_answered_in_one_sentence(words, sentence, capsys):
    assert failure(capsys, *words) == sentence


def test_a_page_that_cannot_be_written_is_named(tmp_path, capsys):
    output = tmp_path / "nowhere" / "page.html"
    said = failure(capsys, DIGITS, "--images=1", "--views=1", f"--output={output}")
    assert said == f"--output {output} cannot be written: No such file or directory."
