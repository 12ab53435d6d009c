"""How good networks are, whatever trained them: a callable from images to outputs is enough."""

from mcl_jax.evaluation.accuracy import accuracy
from mcl_jax.evaluation.judge import Judge
from mcl_jax.evaluation.knn import knn_accuracy
from mcl_jax.evaluation.predict import predict_split

__all__ = ["Judge", "accuracy", "knn_accuracy", "predict_split"]
