"""How good networks are, whatever trained them: a callable from images to outputs is enough."""

from mcl_jax.evaluation.accuracy import accuracy
from mcl_jax.evaluation.adapting import adapted
from mcl_jax.evaluation.calibration import expected_calibration_error
from mcl_jax.evaluation.diagnostics import (
    agreement,
    confusion_matrix,
    cross_network_similarity,
    linear_cka,
)
from mcl_jax.evaluation.encoder import encoder
from mcl_jax.evaluation.evaluate import evaluate
from mcl_jax.evaluation.few_labels import few_labels, few_rows
from mcl_jax.evaluation.figures import PARTS
from mcl_jax.evaluation.judge import Judge, together
from mcl_jax.evaluation.knn import knn_accuracy, knn_votes
from mcl_jax.evaluation.labelled import Labelled
from mcl_jax.evaluation.linear_probe import Probe, linear_probe
from mcl_jax.evaluation.outputs import Outputs, OutputsError, read_outputs, write_outputs
from mcl_jax.evaluation.predict import Predict, predict_split
from mcl_jax.evaluation.retrieval import Retrieval, retrieval
from mcl_jax.evaluation.sgd_probe import Schedule, sgd_probe
from mcl_jax.evaluation.spread import moved, spread

__all__ = [
    "PARTS",
    "Judge",
    "Labelled",
    "Outputs",
    "OutputsError",
    "Predict",
    "Probe",
    "Retrieval",
    "Schedule",
    "accuracy",
    "adapted",
    "agreement",
    "confusion_matrix",
    "cross_network_similarity",
    "encoder",
    "evaluate",
    "expected_calibration_error",
    "few_labels",
    "few_rows",
    "knn_accuracy",
    "knn_votes",
    "linear_cka",
    "linear_probe",
    "moved",
    "predict_split",
    "read_outputs",
    "retrieval",
    "sgd_probe",
    "spread",
    "together",
    "write_outputs",
]
