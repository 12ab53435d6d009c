"""How good networks are, whatever trained them: a callable from images to outputs is enough."""

from mcl_jax.evaluation.accuracy import accuracy
from mcl_jax.evaluation.diagnostics import (
    agreement,
    confusion_matrix,
    cross_network_similarity,
    linear_cka,
)
from mcl_jax.evaluation.judge import Judge
from mcl_jax.evaluation.knn import knn_accuracy
from mcl_jax.evaluation.outputs import Outputs, OutputsError, read_outputs, write_outputs
from mcl_jax.evaluation.predict import predict_split

__all__ = [
    "Judge",
    "Outputs",
    "OutputsError",
    "accuracy",
    "agreement",
    "confusion_matrix",
    "cross_network_similarity",
    "knn_accuracy",
    "linear_cka",
    "predict_split",
    "read_outputs",
    "write_outputs",
]
