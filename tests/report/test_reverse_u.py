"""Task figures over what views share."""

import json
import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "studies"))

from made_up import Quick, study

from mcl_jax.report import write_study_page
from mcl_jax.report.page.reverse_u import pictures, upper_envelope
from mcl_jax.studies import carry_out
from mcl_jax.studies.results import results


@pytest.mark.parametrize("seed", range(3))
def test_the_envelope_is_the_least_concave_line_above_all_points(seed):
    x, y = np.random.default_rng(seed).uniform(size=(2, 12))
    corners = upper_envelope(list(x), list(y))
    assert list(x[corners]) == sorted(x[corners])
    assert (corners[0], corners[-1]) == (np.argmin(x), np.argmax(x))
    assert np.all(np.interp(x, x[corners], y[corners]) >= y - 1e-12)
    slopes = np.diff(y[corners]) / np.diff(x[corners])
    assert np.all(np.diff(slopes) < 0)


def test_of_points_one_above_the_other_the_highest_counts():
    assert upper_envelope([1.0, 1.0, 0.0], [2.0, 3.0, 0.0]) == [2, 1]


def test_the_page_shows_what_is_learned_over_what_views_share(tmp_path):
    wanted = study(tmp_path, evaluate="views")
    runs = carry_out(wanted, Quick(), lambda runs, sentence: None)
    found = json.loads(json.dumps(results(wanted, runs)))
    (tmp_path / "study.json").write_text(json.dumps(found))
    shown = pictures(found)
    assert [picture.title for picture in shown] == [
        "kNN, k = 20 over what views share",
        "linear probe over what views share",
    ]
    bound = found["means"]["shared"]["mean"]["cohort"]["mean"]
    assert f"cohort {bound:.2f} nats, 45.0" in shown[0].alt
    page = write_study_page(tmp_path).read_text(encoding="utf-8")
    assert "What views share, and what is learned from them" in page
    assert shown[0].alt in page


def test_without_the_bound_there_is_no_such_picture(tmp_path):
    wanted = study(tmp_path, seeds=1, evaluate="always")
    runs = carry_out(wanted, Quick(), lambda runs, sentence: None)
    assert pictures(json.loads(json.dumps(results(wanted, runs)))) == []
