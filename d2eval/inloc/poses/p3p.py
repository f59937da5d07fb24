"""Camera poses by P3P in a RANSAC with local optimisation, inliers by an angle."""

import math
import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pycolmap

from d2eval.foundation.arrays.compiled import compiled
from d2eval.foundation.errors import D2EvalError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

SAMPLE = 3
ROTATIONS = ("own", "first")
KEYPOINTS = ("center", "inloc_demo")
# Ceres's defaults, under which the demo refines poses.
MAX_STEPS = 50
COST_TOLERANCE = 1e-6
GRADIENT_TOLERANCE = 1e-10
FIRST_RADIUS = 1e4
LEAST_RADIUS = 1e-32
LEAST_DIAGONAL = 1e-6


@dataclass(frozen=True)
class P3PSettings:
    """How a pose is estimated.

    Attributes:
        threshold_deg: an inlier's largest angle between its ray and the direction to its point.
        max_iterations: RANSAC's.
        confidence: that a sample of inliers was among them.
        max_refinements: of every sample's pose, as long as it doesn't lose inliers.
        rotation: of a solution: its "own", or that of the "first" solution of its sample, about
            its own centre (P3PSolver).
        keypoints: of features: "center" takes them and depth where they are; "inloc_demo" takes
            the numbers of a method's own files, and depth where these lie if the first pixel's
            centre is (1, 1), as interp2 has it.
    """

    threshold_deg: float
    max_iterations: int
    confidence: float
    max_refinements: int
    rotation: str
    keypoints: str

    def __post_init__(self) -> None:
        for name, choices in (("rotation", ROTATIONS), ("keypoints", KEYPOINTS)):
            if getattr(self, name) not in choices:
                raise D2EvalError(
                    f"{name} {getattr(self, name)!r} is not known; use {' or '.join(choices)}"
                )


@dataclass(frozen=True, eq=False)
class PoseEstimate:
    """A pose and what supports it.

    Attributes:
        pose: cam_from_world, or None.
        inliers: (M,) of the correspondences; all False without a pose.
    """

    pose: pycolmap.Rigid3d | None
    inliers: BoolArray

    @property
    def count(self) -> int:
        """Number of inliers."""
        return int(np.count_nonzero(self.inliers))


@compiled(nogil=True, error_model="numpy")
def _find_inliers(R, t, rays, points, cosine, inliers):  # type: ignore[no-untyped-def]
    """Fills ``inliers``; returns how many there are. Points behind the camera are none.

    Squares spare the root, so that the loop becomes vector code.
    """
    (u, v, w), (x, y, z), limit = rays, points, cosine * cosine
    for i in range(len(inliers)):
        a = R[0, 0] * x[i] + R[0, 1] * y[i] + R[0, 2] * z[i] + t[0]
        b = R[1, 0] * x[i] + R[1, 1] * y[i] + R[1, 2] * z[i] + t[1]
        c = R[2, 0] * x[i] + R[2, 1] * y[i] + R[2, 2] * z[i] + t[2]
        dot = u[i] * a + v[i] * b + w[i] * c
        inliers[i] = (dot > 0) & (dot * dot > limit * (a * a + b * b + c * c))
    return inliers.sum()


@compiled(nogil=True, error_model="numpy")
def _linearise(R, t, rays, points, inliers, hessian, gradient):  # type: ignore[no-untyped-def]
    """Half the sum of (1 - cos)^2 over inliers; writes J^T J and J^T r of a turn and a shift.

    Both are in the camera's frame: p becomes exp(w) p + s.
    """
    hessian[:], gradient[:] = 0.0, 0.0
    cost, row = 0.0, np.empty(6)
    for i in range(len(inliers)):
        if not inliers[i]:
            continue
        x, y, z = points[0, i], points[1, i], points[2, i]
        a = R[0, 0] * x + R[0, 1] * y + R[0, 2] * z + t[0]
        b = R[1, 0] * x + R[1, 1] * y + R[1, 2] * z + t[1]
        c = R[2, 0] * x + R[2, 1] * y + R[2, 2] * z + t[2]
        length = np.sqrt(a * a + b * b + c * c)
        a, b, c = a / length, b / length, c / length
        u, v, w = rays[0, i], rays[1, i], rays[2, i]
        cosine = a * u + b * v + c * w
        residual = 1 - cosine
        cost += 0.5 * residual * residual
        p, q, r = cosine * a - u, cosine * b - v, cosine * c - w  # times the length
        row[0], row[1], row[2] = b * r - c * q, c * p - a * r, a * q - b * p
        row[3], row[4], row[5] = p / length, q / length, r / length
        for j in range(6):
            gradient[j] += row[j] * residual
            for k in range(j + 1):
                hessian[j, k] += row[j] * row[k]
    for j in range(6):
        for k in range(j):
            hessian[k, j] = hessian[j, k]
    return cost


@compiled(nogil=True, error_model="numpy")
def _solve(A, b):  # type: ignore[no-untyped-def]
    """Solves A x = b by Cholesky's method, in the place of both; False if A isn't positive."""
    n = len(b)
    for j in range(n):
        for i in range(j, n):
            for k in range(j):
                A[i, j] -= A[i, k] * A[j, k]
        if not A[j, j] > 0:
            return False
        root = np.sqrt(A[j, j])
        for i in range(j, n):
            A[i, j] /= root
    for j in range(n):
        for k in range(j):
            b[j] -= A[j, k] * b[k]
        b[j] /= A[j, j]
    for j in range(n - 1, -1, -1):
        for k in range(j + 1, n):
            b[j] -= A[k, j] * b[k]
        b[j] /= A[j, j]
    return True


@compiled(nogil=True, error_model="numpy")
def _turn(w):  # type: ignore[no-untyped-def]
    """The rotation by the vector w (radians), by Rodrigues' formula."""
    angle = np.sqrt(w[0] ** 2 + w[1] ** 2 + w[2] ** 2)
    K = np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0.0]])
    if angle < 1e-12:
        return np.eye(3) + K
    return np.eye(3) + K * (np.sin(angle) / angle) + K @ K * ((1 - np.cos(angle)) / angle**2)


@compiled(nogil=True, error_model="numpy")
def _refine(R, t, rays, points, inliers):  # type: ignore[no-untyped-def]
    """Levenberg-Marquardt as Ceres steers it: minimises (1 - cos)^2 over the inliers."""
    hessian, gradient = np.zeros((6, 6)), np.zeros(6)
    next_hessian, next_gradient = np.zeros((6, 6)), np.zeros(6)
    cost = _linearise(R, t, rays, points, inliers, hessian, gradient)
    radius, shrink = FIRST_RADIUS, 2.0
    for _ in range(MAX_STEPS):
        if np.abs(gradient).max() <= GRADIENT_TOLERANCE or radius < LEAST_RADIUS:
            break
        damped = hessian.copy()
        for j in range(6):
            damped[j, j] += max(hessian[j, j], LEAST_DIAGONAL) / radius
        step = -gradient
        if not _solve(damped, step):
            radius, shrink = radius / shrink, shrink * 2
            continue
        turn = _turn(step[:3])
        next_R, next_t = turn @ R, turn @ t + step[3:]
        next_cost = _linearise(next_R, next_t, rays, points, inliers, next_hessian, next_gradient)
        expected = -(step @ gradient + 0.5 * (step @ (hessian @ step)))
        ratio = (cost - next_cost) / expected
        if not ratio > 1e-3:
            radius, shrink = radius / shrink, shrink * 2
            continue
        converged = cost - next_cost <= COST_TOLERANCE * cost
        R, t, cost = next_R, next_t, next_cost
        hessian[:], gradient[:] = next_hessian, next_gradient
        radius, shrink = radius / max(1 / 3, 1 - (2 * ratio - 1) ** 3), 2.0
        if converged:
            break
    return R, t


@compiled(nogil=True, error_model="numpy")
def _best_solution(  # type: ignore[no-untyped-def]
    rotations, translations, rays, points, cosine, max_refinements
):
    """The solution of most inliers, refined; with its inliers and their number."""
    found, best_count, best = np.zeros(rays.shape[1], np.bool_), -1, 0
    inliers = found.copy()
    for k in range(len(rotations)):
        count = _find_inliers(rotations[k], translations[k], rays, points, cosine, found)
        if count > best_count:
            best_count, best = count, k
            inliers[:] = found
    R, t, count = rotations[best], translations[best], best_count
    if count <= SAMPLE:
        return R, t, inliers, count
    for _ in range(max_refinements):
        next_R, next_t = _refine(R, t, rays, points, inliers)
        next_count = _find_inliers(next_R, next_t, rays, points, cosine, found)
        if next_count < count:
            break
        R, t, count = next_R, next_t, next_count
        if (found == inliers).all():
            break
        inliers[:] = found
    return R, t, inliers, count


def _samples(n: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    """(count, 3) indices below n, all different in a row, every triple equally likely."""
    drawn = np.random.default_rng(seed).integers(0, [n, n - 1, n - 2], (count, SAMPLE))
    drawn[:, 1] += drawn[:, 1] >= drawn[:, 0]
    low, high = drawn[:, :2].min(axis=1), drawn[:, :2].max(axis=1)
    drawn[:, 2] += drawn[:, 2] >= low
    drawn[:, 2] += drawn[:, 2] >= high
    return drawn


def _iterations(inliers: int, n: int, confidence: float) -> float:
    """How many samples there must be so that one is of inliers alone; often infinitely many."""
    share = math.prod((inliers - k) / (n - k) for k in range(SAMPLE))
    if share < sys.float_info.epsilon:  # 1 - share would be 1; the demo's limit too
        return math.inf
    return 1.0 if share > confidence else math.log(1 - confidence) / math.log(1 - share)


def _solutions(
    rays: FloatArray, points: FloatArray, rotation: str
) -> tuple[FloatArray, FloatArray] | None:
    """Rotations (K, 3, 3) and translations (K, 3) of a sample's solutions of P3P, if there are any.

    The demo's solver finds them by the ratio of the second point's distance to the first one's, a
    root of a polynomial; MATLAB gives roots from the largest down. "first" has that order, too.
    """
    import poselib

    found = poselib.p3p(rays, points)
    if not found:
        return None
    rotations = np.array([solution.R for solution in found])
    translations = np.array([solution.t for solution in found])
    if rotation == "own":
        return rotations, translations
    away = np.linalg.norm(points[:2] @ rotations.swapaxes(1, 2) + translations[:, None], axis=2)
    order = np.argsort(-away[:, 1] / away[:, 0], kind="stable")
    centers = -(rotations.swapaxes(1, 2) @ translations[:, :, None])[order]
    first = rotations[order[0]]
    return np.repeat(first[None], len(found), axis=0), -(first @ centers)[:, :, 0]


def estimate_pose(
    points_2d: npt.NDArray[np.floating],
    points_3d: npt.NDArray[np.floating],
    camera: pycolmap.Camera,
    settings: P3PSettings,
    seed: int,
) -> PoseEstimate:
    """The pose that most correspondences agree with, within an angle.

    Every sample's best P3P solution is refined on its inliers if those are more than three, and
    again on the new ones while they don't become fewer; of equally supported poses the last counts.

    Source: InLoc_demo, ht_lo_ransac_p3p. Its refinement (PnP_mex) minimises the sum of
    (1 - cos angle)^2 by Ceres's defaults; the same is done here, in the camera's frame and with
    three parameters for the rotation. P3P is PoseLib's. Refinement also ends when the inliers
    repeat, since another round would start where the last one ended.

    Args:
        points_2d: (M, 2) pixels, as the camera counts them.
        points_3d: (M, 3) finite, in the world's frame.
        camera: the query's.
        settings: threshold and limits.
        seed: of the samples.

    Returns:
        The estimate; without a pose for fewer than three correspondences, or if P3P has no
        solution for any sample.
    """
    n = len(points_2d)
    if n < SAMPLE:
        return PoseEstimate(None, np.zeros(n, np.bool_))
    rays = np.ones((n, 3))
    rays[:, :2] = camera.cam_from_img(points_2d.astype(np.float64))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    points = points_3d.astype(np.float64)
    by_axis_2d, by_axis_3d = np.ascontiguousarray(rays.T), np.ascontiguousarray(points.T)
    cosine = math.cos(math.radians(settings.threshold_deg))
    best, best_count, limit = PoseEstimate(None, np.zeros(n, np.bool_)), SAMPLE, math.inf
    for done, sample in enumerate(_samples(n, settings.max_iterations, seed)):
        if done >= limit:
            break
        solutions = _solutions(rays[sample], points[sample], settings.rotation)
        if solutions is None:
            continue
        R, t, inliers, count = _best_solution(
            *solutions, by_axis_2d, by_axis_3d, cosine, settings.max_refinements
        )
        if count >= best_count:
            best = PoseEstimate(pycolmap.Rigid3d(pycolmap.Rotation3d(R), t), inliers)
            best_count, limit = count, min(limit, _iterations(count, n, settings.confidence))
    return best
