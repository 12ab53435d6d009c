"""Embeddings as points in the plane, by PCA and by t-SNE."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from mcl_jax.evaluation import Outputs
from mcl_jax.report.page import wording
from mcl_jax.report.page.svg import INK, POINTS, Picture, drawing, to_svg

_MOST_POINTS = 1200  # of all networks together: t-SNE of them takes a second or two
_MARKERS = ("o", "^")


def embedding_maps(outputs: Outputs) -> list[Picture]:
    """PCA of each network's embeddings, and t-SNE of all networks' at once; a panel a network.

    The networks share one space, which is what they are trained to do; so in t-SNE they share the
    axes, and where two panels look alike the networks agree on where images lie.

    Args:
        outputs: of M networks.

    Returns:
        Two pictures; none where there are fewer than three rows or numbers are not finite.
    """
    networks, stored = outputs.embeddings.shape[:2]
    chosen = np.random.default_rng(0).permutation(stored)[: max(3, _MOST_POINTS // networks)]
    embeddings = outputs.embeddings[:, chosen]
    if len(chosen) < 3 or not np.isfinite(embeddings).all():
        return []
    labels, names = outputs.labels[chosen], outputs.class_names
    shown = (
        f"{len(chosen):,} of the {outputs.of:,} {outputs.split} rows (drawn with seed 0), coloured "
        "by their true class."
    )
    planes, kept = zip(*map(_pca, embeddings), strict=True)
    low, high = f"{min(kept):.0%}", f"{max(kept):.0%}"
    shares = low if low == high else f"{low} to {high}"
    pca = (
        f"The two directions of largest variance of each network's own embeddings; they hold "
        f"{shares} of it. {shown}"
    )
    joined = embeddings.reshape(networks * len(chosen), -1)
    curled, perplexity = _tsne(joined, _pca(joined)[0])
    together = " of all networks together, a panel each on the same axes" if networks > 1 else ""
    tsne = (
        f"t-SNE of the embeddings{together} (perplexity {perplexity:g}, seed 0, started from "
        "PCA): near points are near in the embedding; distances between groups and their sizes "
        f"say little. {shown}"
    )
    return [
        _map("PCA", np.stack(planes), labels, names, pca, shared=False),
        _map("t-SNE", curled.reshape(networks, -1, 2), labels, names, tsne, shared=True),
    ]


def _pca(points: np.ndarray) -> tuple[np.ndarray, float]:
    """[n, D] to [n, 2], and the share of the variance that is left."""
    if not points.std(axis=0).any():  # all points are one
        return np.zeros((len(points), 2)), 1.0
    wide = np.pad(points, ((0, 0), (0, max(0, 2 - points.shape[1]))))
    pca = PCA(2, svd_solver="full").fit(wide)
    return pca.transform(wide), float(pca.explained_variance_ratio_.sum())


def _tsne(points: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, float]:
    """[n, D] to [n, 2], begun at ``start`` [n, 2], and the perplexity."""
    perplexity = min(30.0, (len(points) - 1) / 3)
    # The spread that scikit-learn gives its own start; that of equal points stays where it is.
    start = (1e-4 * start / (start[:, 0].std() or 1.0)).astype(np.float32)
    tsne = TSNE(2, init=start, perplexity=perplexity, max_iter=500, random_state=0)
    return tsne.fit_transform(points.astype(np.float32)), perplexity


def _map(
    title: str,
    plane: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    caption: str,
    shared: bool,
) -> Picture:
    """Points [M, n, 2] in a panel a network, coloured by the class of their row [n]."""
    networks = len(plane)
    columns = networks if networks <= 3 else 4 if networks > 4 else 2
    lines = -(-networks // columns)
    coloured = _coloured(labels, len(names))
    with drawing(max(4.4, 2.4 * columns), 2.4 * lines + 0.9) as figure:
        panels = figure.subplots(lines, columns, sharex=shared, sharey=shared, squeeze=False).flat
        for number, axes in enumerate(panels):
            if number >= networks:
                axes.set_axis_off()
                continue
            _points(axes, plane[number], labels, coloured)
            axes.set_title(f"network {number}" if networks > 1 else "")
        handles = [
            Line2D([], [], linestyle="", marker=marker, color=colour, markersize=5)
            for _, colour, marker in coloured
        ]
        legend = [wording.short(names[label]) for label, _, _ in coloured]
        figure.legend(
            handles, legend, loc="outside lower center", ncols=min(5, len(legend)), fontsize=8,
            handletextpad=0.1, columnspacing=1.0,
        )  # fmt: skip
        purity = _purity(plane, labels)
        alt = (
            f"{title} map of the embeddings, {wording.count(networks, 'panel')} of "
            f"{wording.count(plane.shape[1], 'point')}, classes in colours. {purity}"
        )
        svg = to_svg(figure, f"map-{title.lower()}", alt)
    if len(coloured) < len(np.unique(labels)):
        caption += f" The {len(coloured)} classes with most rows have a colour, the rest is grey."
    return Picture(f"Embeddings, {title}", svg, alt, f"{caption} {purity}", wide=networks > 2)


def _coloured(labels: np.ndarray, classes: int) -> list[tuple[int, str, str]]:
    """Class, colour and marker: of every class up to 20, else of the ten with most rows."""
    known = np.arange(classes)
    if classes > len(POINTS) * len(_MARKERS):
        counts = np.bincount(labels, minlength=classes)
        known = np.sort(np.argsort(-counts, kind="stable")[: len(POINTS)])
    return [
        (int(label), POINTS[place % len(POINTS)], _MARKERS[place // len(POINTS)])
        for place, label in enumerate(known)
    ]


def _points(
    axes: Axes, plane: np.ndarray, labels: np.ndarray, coloured: Sequence[tuple[int, str, str]]
) -> None:
    """One panel; points are pixels, for thousands of shapes would make a slow page."""
    rest = ~np.isin(labels, [label for label, _, _ in coloured])
    axes.plot(*plane[rest].T, ".", color="#888888", markersize=2, alpha=0.4, rasterized=True)
    for label, colour, marker in coloured:
        mine = plane[labels == label].T
        axes.plot(*mine, marker, color=colour, markersize=3, alpha=0.75, mew=0, rasterized=True)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, alpha=0.3, color=INK)


def _purity(plane: np.ndarray, labels: np.ndarray) -> str:
    """How often the point next to a point in the plane is of its class."""
    shares = []
    for points in plane:
        # A point may share its place with others; then another of them comes first.
        nearest = NearestNeighbors(n_neighbors=2).fit(points).kneighbors(return_distance=False)
        shares.append(np.mean(labels[nearest[:, 0]] == labels))
    low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
    return (
        "The point nearest to a point in its panel has its class in "
        f"{low if low == high else f'{low} to {high}'} of cases."
    )
