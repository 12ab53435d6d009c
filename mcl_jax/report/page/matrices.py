"""How alike networks are: a row and a column a network."""

import numpy as np

from mcl_jax.evaluation import Outputs, agreement, cross_network_similarity, linear_cka
from mcl_jax.report.page import wording
from mcl_jax.report.page.heat import draw_heat
from mcl_jax.report.page.svg import Picture, drawing, to_svg

_COLLAPSED = 0.999  # mean cosine of different images, from which a run warns too


def network_matrices(outputs: Outputs) -> list[Picture]:
    """Similarity, agreement and CKA between networks; none where there is but one."""
    networks = len(outputs.logits)
    if networks < 2 or len(outputs.rows) < 2:
        return []
    similarity = cross_network_similarity(outputs.embeddings)
    return [
        network_matrix(
            similarity.same,
            "Cosine, same image",
            "Mean cosine between two networks' embeddings of the same image. 1: they agree on "
            "where it lies. To be read beside the next matrix.",
            lowest=-1,
        ),
        network_matrix(
            similarity.different,
            "Cosine, other images",
            "The same between two different images: what the cosine is by itself. Near 1 on the "
            "diagonal would say that a network puts all images on one point."
            + _collapsed(similarity.different),
            lowest=-1,
        ),
        network_matrix(
            agreement(outputs.logits),
            "Agreement of answers",
            "Share of rows that two networks put into the same class, rightly or wrongly.",
        ),
        network_matrix(
            linear_cka(outputs.features),
            "Features, linear CKA",
            "Centred kernel alignment of the encoders' features: 1 where they are equal up to a "
            "rotation and a scale, whatever their widths.",
        ),
    ]


def network_matrix(matrix: np.ndarray, title: str, caption: str, lowest: float = 0) -> Picture:
    """A matrix [M, M] with a row and a column a network.

    Args:
        matrix: [M, M], at most 1.
        title: that no other matrix of the page has.
        caption: what is in it.
        lowest: value of the darkest colour.
    """
    networks = len(matrix)
    cells = [[_cell(x, small=networks > 8) for x in row] for row in matrix]
    others = matrix[~np.eye(networks, dtype=bool)]
    side = max(2.6, 1.0 + 0.3 * networks)
    with drawing(side + 0.35, side) as figure:
        axes = figure.subplots()
        draw_heat(axes, matrix, lowest, cells, 10 if networks <= 6 else 7)
        axes.set_xticks(range(networks))
        axes.set_yticks(range(networks))
        axes.set_xlabel("network")
        axes.set_ylabel("network")
        alt = (
            f"{title}, {networks} by {networks} networks. {_range(others, 'Between two networks')}"
        )
        if not np.allclose(np.diag(matrix), 1):
            alt += f" {_range(np.diag(matrix), 'Within a network')}"
        identifier = "matrix-" + "".join(x for x in title.lower() if x.isalpha())
        svg = to_svg(figure, identifier, alt)
    return Picture(title, svg, alt, caption, wide=networks > 8)


def _cell(value: float, small: bool) -> str:
    """Two digits, without the zero in front where there is little room."""
    text = f"{value:.2f}".replace("-0.00", "0.00")
    return text.replace("0.", ".") if small else text


def _range(values: np.ndarray, who: str) -> str:
    if np.isnan(values).all():
        return f"{who}: not defined."
    low, high = np.nanmin(values), np.nanmax(values)
    return f"{who}: {low:.2f}." if len(values) < 3 else f"{who}: {low:.2f} to {high:.2f}."


def _collapsed(different: np.ndarray) -> str:
    """A sentence where a network puts all images on one point."""
    collapsed = [str(index) for index, x in enumerate(np.diag(different)) if x > _COLLAPSED]
    if not collapsed:
        return ""
    return f" So it is here with network {wording.listed(collapsed)}: the embeddings collapsed."
