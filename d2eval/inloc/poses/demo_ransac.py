"""RANSAC for homographies as InLoc's demo has it, with the fault that its published numbers have.

For reproduction alone: for the four points of a sample, at_ransacH4 (InLoc_demo at b4c42de) takes
the last vector of svd(M, 'econ'), whose M has 9 rows and 8 columns. The economical form leaves out
the 9th vector, which all columns of M are orthogonal to and which is the homography; what comes
last is the 8th. It fits none of its points, and many true matches are lost.
"""

import numpy as np
import numpy.typing as npt

from d2eval.foundation.arrays.compiled import compiled
from d2eval.inloc.poses.samples import draw_samples

FloatArray = npt.NDArray[np.float64]

SAMPLE = 4
LEAST_MATCHES = 10  # fewer have no homography
EPSILON = float(np.finfo(np.float64).eps)


def _standardising(points: FloatArray) -> FloatArray:
    """(3, 3) that takes the mean of points (2, N) to 0, their standard deviations to 1."""
    with np.errstate(divide="ignore"):
        (x, y), (sx, sy) = points.mean(axis=1), 1 / points.std(axis=1, ddof=1)
        return np.array([[sx, 0, -x * sx], [0, sy, -y * sy], [0, 0, 1.0]])


@compiled(nogil=True, error_model="numpy")
def minimal_homography(first, second):  # type: ignore[no-untyped-def]
    """(3, 3) the demo's from four points (2, 4) in each image; not the one that fits them."""
    M = np.zeros((9, 8))
    for i in range(4):
        x, y, u, v = first[0, i], first[1, i], second[0, i], second[1, i]
        M[0, i], M[1, i], M[2, i] = x, y, 1.0
        M[3, 4 + i], M[4, 4 + i], M[5, 4 + i] = x, y, 1.0
        M[6, i], M[7, i], M[8, i] = -u * x, -u * y, -u
        M[6, 4 + i], M[7, 4 + i], M[8, 4 + i] = -v * x, -v * y, -v
    left = np.linalg.svd(M, False)[0]
    return left[:, 7].copy().reshape(3, 3)


@compiled(nogil=True, error_model="numpy")
def _isotropic(points, chosen):  # type: ignore[no-untyped-def]
    """Mean x, mean y and scale that give chosen points a mean distance of sqrt(2) from 0."""
    mx, my, distance = 0.0, 0.0, 0.0
    n = chosen.sum()
    for i in range(len(chosen)):
        if chosen[i]:
            mx, my = mx + points[0, i] / n, my + points[1, i] / n
    for i in range(len(chosen)):
        if chosen[i]:
            distance += np.sqrt((points[0, i] - mx) ** 2 + (points[1, i] - my) ** 2) / n
    return mx, my, np.sqrt(2.0) / distance


@compiled(nogil=True, error_model="numpy")
def least_squares_homography(first, second, chosen):  # type: ignore[no-untyped-def]
    """(3, 3) by the normalised DLT over chosen points, as u2H; NaN where they are one point."""
    u1, v1, s1 = _isotropic(first, chosen)
    u2, v2, s2 = _isotropic(second, chosen)
    if not (np.isfinite(s1) and np.isfinite(s2)):
        return np.full((3, 3), np.nan)
    A, row = np.zeros((9, 9)), np.zeros(9)
    for i in range(len(chosen)):
        if not chosen[i]:
            continue
        point = np.array([(first[0, i] - u1) * s1, (first[1, i] - v1) * s1, 1.0])
        for axis in range(2):
            seen = (second[axis, i] - (u2 if axis == 0 else v2)) * s2
            row.fill(0.0)
            for j in range(3):
                row[3 * axis + j] = point[j]
                row[6 + j] = -seen * point[j]
            for j in range(9):
                for k in range(j + 1):
                    A[j, k] += row[j] * row[k]
    h = np.linalg.eigh(A)[1][:, 0].copy().reshape(3, 3)  # reads the lower triangle
    one = np.array([[s1, 0, -s1 * u1], [0, s1, -s1 * v1], [0, 0, 1.0]])
    back = np.array([[1 / s2, 0, u2], [0, 1 / s2, v2], [0, 0, 1.0]])
    return back @ h @ one


@compiled(nogil=True, error_model="numpy")
def _find_inliers(H, first, second, tolerance, inliers):  # type: ignore[no-untyped-def]
    """Fills ``inliers``; returns how many there are."""
    limit = tolerance * tolerance
    for i in range(len(inliers)):
        x, y = first[0, i], first[1, i]
        w = H[2, 0] * x + H[2, 1] * y + H[2, 2]
        dx = second[0, i] - (H[0, 0] * x + H[0, 1] * y + H[0, 2]) / w
        dy = second[1, i] - (H[1, 0] * x + H[1, 1] * y + H[1, 2]) / w
        inliers[i] = dx * dx + dy * dy < limit
    return inliers.sum()


@compiled(nogil=True, error_model="numpy")
def _search(  # type: ignore[no-untyped-def]
    first, second, to_one, to_two, samples, tolerance, confidence
):
    """(N,) which matches the best homography explains; none if four at most agree with each."""
    n = first.shape[1]
    best, found, refined = np.zeros(n, np.bool_), np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    back = np.linalg.inv(to_two)
    standard_1, standard_2 = np.empty_like(first), np.empty_like(second)
    for axis in range(2):
        for i in range(n):  # assigned as wholes, they take 2 s more to be compiled
            standard_1[axis, i] = first[axis, i] * to_one[axis, axis] + to_one[axis, 2]
            standard_2[axis, i] = second[axis, i] * to_two[axis, axis] + to_two[axis, 2]
    most, limit = SAMPLE, float(len(samples))
    for t in range(len(samples)):
        if t >= limit:
            break
        minimal = minimal_homography(standard_1[:, samples[t]], standard_2[:, samples[t]])
        count = _find_inliers(back @ minimal @ to_one, first, second, tolerance, found)
        if count <= most:
            continue
        H = least_squares_homography(first, second, found)
        again = _find_inliers(H, first, second, tolerance, refined)
        if again > count:
            count, found, refined = again, refined, found
        most, best, found = count, found, best
        share = 1.0
        for k in range(SAMPLE):
            share *= (most - k) / (n - k)
        if share > confidence:
            limit = min(limit, 1.0)
        elif share >= EPSILON:
            limit = min(limit, np.log(1 - confidence) / np.log(1 - share))
    return best


def demo_inliers(
    points_1: FloatArray,
    points_2: FloatArray,
    tolerance: float,
    confidence: float,
    max_iterations: int,
    seed: int,
) -> npt.NDArray[np.bool_]:
    """Which matches the homography of most inliers explains.

    Points are (N, 2); an inlier's error in image 2 is smaller than ``tolerance``.

    Source: InLoc_demo, at_ransacH4 with local optimisation, and u2H; it draws other samples.

    Returns:
        (N,) mask.
    """
    n = len(points_1)
    if n < LEAST_MATCHES:
        return np.zeros(n, np.bool_)
    first, second = np.ascontiguousarray(points_1.T), np.ascontiguousarray(points_2.T)
    one, two = _standardising(first), _standardising(second)
    if not (np.isfinite(one).all() and np.isfinite(two).all()):  # all lie on a line
        return np.zeros(n, np.bool_)
    samples = draw_samples(n, SAMPLE, max_iterations, seed)
    return np.asarray(_search(first, second, one, two, samples, tolerance, confidence))
