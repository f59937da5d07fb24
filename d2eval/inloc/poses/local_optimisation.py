"""The best pose of a sample, refined on its inliers: local optimisation as InLoc's demo has it."""

import numpy as np

from d2eval.foundation.arrays.compiled import compiled

SAMPLE = 3  # correspondences that P3P takes
# Ceres's defaults, under which the demo refines poses.
MAX_STEPS = 50
COST_TOLERANCE = 1e-6
GRADIENT_TOLERANCE = 1e-10
FIRST_RADIUS = 1e4
LEAST_RADIUS = 1e-32
LEAST_DIAGONAL = 1e-6


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
    cost, row = 0.0, np.empty(6)
    hessian.fill(0.0)
    gradient.fill(0.0)
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
        hessian, next_hessian = next_hessian, hessian
        gradient, next_gradient = next_gradient, gradient
        radius, shrink = radius / max(1 / 3, 1 - (2 * ratio - 1) ** 3), 2.0
        if converged:
            break
    return R, t


@compiled(nogil=True, error_model="numpy")
def best_solution(  # type: ignore[no-untyped-def]
    rotations, translations, rays, points, cosine, max_refinements
):
    """The solution of most inliers, refined; with its inliers and their number."""
    found, best_count, best = np.zeros(rays.shape[1], np.bool_), -1, 0
    inliers = found.copy()
    for k in range(len(rotations)):
        count = _find_inliers(rotations[k], translations[k], rays, points, cosine, found)
        if count > best_count:
            best_count, best = count, k
            inliers, found = found, inliers
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
        inliers, found = found, inliers
    return R, t, inliers, count
