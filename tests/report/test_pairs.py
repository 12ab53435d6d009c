"""Metrics of pairs of networks in the log, in TensorBoard's tags and on the page."""

import json
import re

import numpy as np
import pytest
from ml_collections import ConfigDict

from mcl_jax.report import Recorder, write_page
from mcl_jax.report.page import curves, pairs
from mcl_jax.report.page.workdir import read_workdir
from mcl_jax.report.recorder import tagged


def matrix(networks, step):
    values = np.arange(networks**2, dtype=float).reshape(networks, networks) + step
    return values.tolist()


def lines(networks, **more):
    return [
        {"step": step, "loss": 1.0, "mutual_information": matrix(networks, step), **more}
        for step in (1, 2, 3)
    ]


@pytest.fixture
def workdir(tmp_path):
    def write(networks, records):
        config = {"name": "run", "method": {"networks": networks}, "data": {"source": "digits"}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        text = "".join(json.dumps(record) + "\n" for record in records)
        (tmp_path / "metrics.jsonl").write_text(text)
        return tmp_path

    return write


def test_matrices_are_logged_and_tagged_by_row_and_column(tmp_path):
    config = ConfigDict({"name": "run", "logging": {"tensorboard": True, "wandb": ""}})
    record = {"step": 1, "loss": 0.5, "agreement": [[1.0, 0.25], [0.25, 1.0]]}
    with Recorder(tmp_path, config, start=0, steps=1) as recorder:
        recorder.metrics(record)
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == record
    tags = dict(tagged(record))
    assert tags["train/agreement/network_0/network_1"] == 0.25
    assert len(tags) == 5


def test_what_is_a_matrix_and_what_is_none():
    records = [
        {"step": 1, "a": [[1.0]], "b": [1.0, 2.0], "c": [[1.0, 2.0]], "d": 3.0, "agreement": [[1]]},
        {"step": 2, "a": [["x"]], "e": [], "f": [[]]},
    ]
    assert pairs.pair_metric_names(records) == ["agreement", "a"]
    assert curves.metric_names(records) == ["b", "d"]
    steps, values = pairs.pair_series([*lines(3), *lines(2)], "mutual_information")
    assert (steps.tolist(), values.shape) == ([1, 2, 3], (3, 2, 2))


def test_the_page_shows_the_newest_matrix_and_the_means(workdir):
    agreement = [[1.0, None], [0.25, 1.0]]
    folder = workdir(2, lines(2, agreement=agreement))
    found = {picture.title: picture for picture in pairs.pair_pictures(read_workdir(folder))}
    assert list(found) == [
        "bound on mutual information, newest",
        "bound on mutual information",
        "agreement on training batches, newest",
        "agreement on training batches",
    ]
    newest = found["bound on mutual information, newest"]
    assert newest.alt.endswith("at step 3, 2 by 2 networks. 0 and 1: 4.00; 1 and 0: 5.00.")
    course = found["bound on mutual information"]
    assert "the mean over networks goes from 2.5 at step 1 to 4.5 at step 3" in course.alt
    for label in ("within a network", "between two networks"):
        assert label in course.image
    # Every network agrees with itself, which is not worth a line; what is unknown is left out.
    assert "within a network" not in found["agreement on training batches"].image
    assert "goes from 0.25 at step 1 to 0.25" in found["agreement on training batches"].alt
    text = write_page([folder]).read_text()
    assert "<h2>Between networks, while training</h2>" in text
    identifiers = re.findall(r'\bid="([^"]+)"', text)
    assert len(identifiers) == len(set(identifiers))


def test_one_network_has_a_curve_alone(workdir):
    found = pairs.pair_pictures(read_workdir(workdir(1, lines(1))))
    assert [picture.title for picture in found] == ["bound on mutual information"]


def test_a_page_without_such_metrics_has_no_such_part(workdir):
    text = write_page([workdir(2, [{"step": 1, "loss": 1.0}])]).read_text()
    assert "Between networks" not in text
