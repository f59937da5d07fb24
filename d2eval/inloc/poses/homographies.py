"""Geometric verification of matches by homographies, as InLoc's demo does it.

Every match is a hypothesis of its own: its two frames give a similarity (or affinity) of the
images, which is refined on its inliers. There are no random numbers.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from d2eval.foundation.arrays.compiled import compiled

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

MIN_SPREAD_PX = 1.0  # a set of points is not scaled up beyond it before the DLT
COLLINEAR = 1e-14  # determinant over squared trace of the points' scatter


@dataclass(frozen=True)
class HomographySettings:
    """How matches are verified."""

    max_homographies: int  # how many are sought, one after the other
    min_inliers: int  # a homography counts when it has MORE than so many inliers
    frame_px: float  # reprojection error in image 2 below which a match agrees with two frames
    affine_px: float  # the same with an affinity
    homography_px: float  # the same with a homography
    iterations: int  # the frames' hypothesis, then refinements
    affine_iterations: int  # how many of them fit an affinity; the rest fit a homography
    min_support: int  # a hypothesis of fewer inliers is refined no more
    enough_share: float  # nor is one of a larger share of the matches


def frames(
    n: int,
    scales: npt.NDArray[np.floating] | None = None,
    orientations: npt.NDArray[np.floating] | None = None,
) -> FloatArray:
    """The shapes of ``n`` features: oriented discs, upright ones without orientations.

    Source: InLoc_demo's toAffinity.

    Args:
        n: number of features.
        scales: (n,), the discs' radii in any unit; None for 1.
        orientations: (n,) radians, from x to y; None for 0.

    Returns:
        (n, 2, 2) that map the unit disc to the feature, less its position.
    """
    scale = np.ones(n) if scales is None else scales.astype(np.float64)
    angle = np.zeros(n) if orientations is None else orientations.astype(np.float64)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.stack([cos, -sin, sin, cos], axis=1).reshape(n, 2, 2)


def _hypotheses(
    points_1: FloatArray, frames_1: FloatArray, points_2: FloatArray, frames_2: FloatArray
) -> FloatArray:
    """(M, 3, 3) affinities that take frame 1 of each match to frame 2; NaN for a flat frame 1."""
    a, b, c, d = frames_1.reshape(-1, 4).T
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = (
            np.stack([d, -b, -c, a], axis=1).reshape(-1, 2, 2) / (a * d - b * c)[:, None, None]
        )
        linear = frames_2 @ inverse
        shift = points_2 - (linear @ points_1[:, :, None])[:, :, 0]
    matrices = np.zeros((len(points_1), 3, 3))
    matrices[:, :2, :2], matrices[:, :2, 2], matrices[:, 2, 2] = linear, shift, 1
    return matrices


@compiled(nogil=True, error_model="numpy")
def _find_inliers(H, x1, y1, x2, y2, tolerance, close, inliers):  # type: ignore[no-untyped-def]
    """Fills ``inliers`` with the indices of the matches that agree with H; returns how many.

    The two loops are apart, so that the first becomes vector code.
    """
    limit = tolerance * tolerance
    if H[2, 0] == 0 and H[2, 1] == 0:
        for i in range(len(x1)):
            dx = x2[i] - (H[0, 0] * x1[i] + H[0, 1] * y1[i] + H[0, 2])
            dy = y2[i] - (H[1, 0] * x1[i] + H[1, 1] * y1[i] + H[1, 2])
            close[i] = dx * dx + dy * dy < limit
    else:
        for i in range(len(x1)):
            w = H[2, 0] * x1[i] + H[2, 1] * y1[i] + H[2, 2]
            dx = x2[i] - (H[0, 0] * x1[i] + H[0, 1] * y1[i] + H[0, 2]) / w
            dy = y2[i] - (H[1, 0] * x1[i] + H[1, 1] * y1[i] + H[1, 2]) / w
            close[i] = dx * dx + dy * dy < limit
    count = 0
    for i in range(len(x1)):
        inliers[count] = i
        count += close[i]
    return count


@compiled(nogil=True, error_model="numpy")
def _moments(x, y, chosen):  # type: ignore[no-untyped-def]
    """Means and standard deviations (of a sample, at least `MIN_SPREAD_PX`) of chosen points."""
    n = len(chosen)
    mx = my = sx = sy = 0.0
    for i in chosen:
        mx += x[i]
        my += y[i]
    mx, my = mx / n, my / n
    for i in chosen:
        sx += (x[i] - mx) ** 2
        sy += (y[i] - my) ** 2
    sx, sy = np.sqrt(sx / (n - 1)), np.sqrt(sy / (n - 1))
    return mx, my, max(sx, MIN_SPREAD_PX), max(sy, MIN_SPREAD_PX)


@compiled(nogil=True, error_model="numpy")
def _fit_affinity(H, x1, y1, x2, y2, chosen):  # type: ignore[no-untyped-def]
    """Writes the least-squares affinity of the chosen matches into H.

    Where points lie on a line, or all on one point, it is the one of least norm about their mean.
    """
    u1, v1, _, _ = _moments(x1, y1, chosen)
    u2, v2, _, _ = _moments(x2, y2, chosen)
    xx = xy = yy = ax = ay = bx = by = 0.0
    for i in chosen:
        dx, dy, ex, ey = x1[i] - u1, y1[i] - v1, x2[i] - u2, y2[i] - v2
        xx, xy, yy = xx + dx * dx, xy + dx * dy, yy + dy * dy
        ax, ay, bx, by = ax + ex * dx, ay + ex * dy, bx + ey * dx, by + ey * dy
    determinant, spread = xx * yy - xy * xy, (xx + yy) ** 2
    if determinant > COLLINEAR * spread:
        H[0, 0], H[0, 1] = (ax * yy - ay * xy) / determinant, (ay * xx - ax * xy) / determinant
        H[1, 0], H[1, 1] = (bx * yy - by * xy) / determinant, (by * xx - bx * xy) / determinant
    elif spread > 0:
        H[0, 0], H[0, 1] = (ax * xx + ay * xy) / spread, (ax * xy + ay * yy) / spread
        H[1, 0], H[1, 1] = (bx * xx + by * xy) / spread, (bx * xy + by * yy) / spread
    else:
        H.fill(0.0)
    H[0, 2] = u2 - H[0, 0] * u1 - H[0, 1] * v1
    H[1, 2] = v2 - H[1, 0] * u1 - H[1, 1] * v1
    H[2, 0], H[2, 1], H[2, 2] = 0.0, 0.0, 1.0


@compiled(nogil=True, error_model="numpy")
def _fit_homography(H, x1, y1, x2, y2, chosen):  # type: ignore[no-untyped-def]
    """Writes the homography of the chosen matches by the normalised DLT into H."""
    u1, v1, p1, q1 = _moments(x1, y1, chosen)
    u2, v2, p2, q2 = _moments(x2, y2, chosen)
    A = np.zeros((9, 9))
    first = np.ones(3)
    for i in chosen:
        first[0], first[1] = (x1[i] - u1) / p1, (y1[i] - v1) / q1
        x, y = (x2[i] - u2) / p2, (y2[i] - v2) / q2
        weights = x * x + y * y
        for j in range(3):
            for k in range(3):
                product = first[j] * first[k]
                A[j, k] += product
                A[3 + j, 3 + k] += product
                A[6 + j, k] -= x * product
                A[6 + j, 3 + k] -= y * product
                A[6 + j, 6 + k] += weights * product
    h = np.linalg.eigh(A)[1][:, 0].copy().reshape(3, 3)  # reads the lower triangle
    one = np.array([[1 / p1, 0, -u1 / p1], [0, 1 / q1, -v1 / q1], [0, 0, 1.0]])
    two = np.array([[p2, 0, u2], [0, q2, v2], [0, 0, 1.0]])
    np.dot(two @ h, one, H)


@compiled(nogil=True, error_model="numpy")
def _best_hypothesis(  # type: ignore[no-untyped-def]
    hypotheses, coordinates, tolerances, iterations, affine_iterations, min_support, enough
):
    """The inliers (K,) of the hypothesis that has most; of equal ones the first counts."""
    x1, y1, x2, y2 = coordinates[0], coordinates[1], coordinates[2], coordinates[3]
    n = len(x1)
    close, inliers, best = np.zeros(n, np.bool_), np.zeros(n, np.int64), np.zeros(n, np.int64)
    count = best_count = 0
    for m in range(len(hypotheses)):
        H = hypotheses[m].copy()
        for iteration in range(iterations):
            tolerance = tolerances[0]
            if iteration > affine_iterations:
                _fit_homography(H, x1, y1, x2, y2, inliers[:count])
                tolerance = tolerances[2]
            elif iteration > 0:
                _fit_affinity(H, x1, y1, x2, y2, inliers[:count])
                tolerance = tolerances[1]
            count = _find_inliers(H, x1, y1, x2, y2, tolerance, close, inliers)
            if count < min_support or count > enough:
                break
        if count > best_count:
            best_count = count
            best, inliers = inliers, best
    return best[:best_count].copy()


def homography_groups(
    points_1: npt.NDArray[np.floating],
    frames_1: FloatArray,
    points_2: npt.NDArray[np.floating],
    frames_2: FloatArray,
    settings: HomographySettings,
) -> list[IndexArray]:
    """Groups of matches that a homography each explains, the first found with most inliers.

    Each match's frames give an affinity from image 1 to image 2. Its inliers give an affinity by
    least squares, those a new one, at last a homography by the normalised DLT, each step with its
    own tolerance. The hypothesis whose last step has most inliers wins; its inliers leave, and the
    next homography is sought among the rest.

    Source: InLoc_demo, at_sparseransac and geometricVerification.

    Args:
        points_1: (M, 2) pixels in image 1, one row for each match.
        frames_1: (M, 2, 2) shapes, see `frames`.
        points_2: (M, 2) pixels in image 2.
        frames_2: (M, 2, 2) shapes.
        settings: tolerances and limits.

    Returns:
        One rising array of indices into the matches for each homography.
    """
    first, second = points_1.astype(np.float64), points_2.astype(np.float64)
    hypotheses = _hypotheses(first, frames_1, second, frames_2)
    tolerances = np.array([settings.frame_px, settings.affine_px, settings.homography_px])
    coordinates = np.concatenate([first.T, second.T])
    left = np.arange(len(first))
    groups: list[IndexArray] = []
    while len(groups) < settings.max_homographies and len(left) > settings.min_inliers:
        inliers = _best_hypothesis(
            hypotheses[left],
            np.ascontiguousarray(coordinates[:, left]),
            tolerances,
            settings.iterations,
            settings.affine_iterations,
            settings.min_support,
            settings.enough_share * len(left),
        )
        if len(inliers) <= settings.min_inliers:
            break
        groups.append(left[inliers])
        left = np.delete(left, inliers)
    return groups
