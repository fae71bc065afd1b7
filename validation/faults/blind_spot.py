"""Faults of the blind-spot losses."""

from validation.faults.fault import Fault

_BLIND_SPOT = "minigrad.losses.blind_spot:"
_MULTIVARIATE = "minigrad.losses.multivariate:"

FAULTS = (
    Fault(
        "detached",
        "MAPLoss",
        "a cotangent for the mean in pretraining",
        _BLIND_SPOT + "MAPLoss.forward_and_vjp",
        (("None if self.pretrain else 2 * scaled", "2 * scaled"),),
        "arity_and_forms",
    ),
    Fault(
        "sign",
        "MAPLoss",
        "residual pulls the variance down",
        _BLIND_SPOT + "MAPLoss.forward_and_vjp",
        (("sigma_y - d * d", "sigma_y + d * d"),),
        "differences",
    ),
    Fault(
        "factor",
        "MAPLoss",
        "half of the root's derivative forgotten",
        _BLIND_SPOT + "MAPLoss.forward_and_vjp",
        (("-self.noise_reward / 2 / root", "-self.noise_reward / root"),),
        "differences",
    ),
    Fault(
        "branch",
        "DBSNLoss",
        "least variance forgotten in the vjp",
        _BLIND_SPOT + "DBSNLoss.forward_and_vjp",
        (("xp.where(sigma_n >= self.minimum, ", "xp.where(sigma_n == sigma_n, "),),
        "check_float64",
    ),
    Fault(
        "exchange",
        "DBSNLoss",
        "cotangents of the two variances exchanged",
        _BLIND_SPOT + "DBSNLoss.forward_and_vjp",
        (("slope_mu * step, slope_n * step", "slope_n * step, slope_mu * step"),),
        "check_float64",
    ),
    Fault(
        "exchange",
        "MultivariateMAPLoss",
        "outer product transposed",
        _MULTIVARIATE + "MultivariateMAPLoss.forward_and_vjp",
        (("outer(v, u)", "outer(u, v)"),),
        "check_float64",
    ),
    Fault(
        "factor",
        "MultivariateMAPLoss",
        "covariance taken for symmetric",
        _MULTIVARIATE + "MultivariateMAPLoss.forward_and_vjp",
        (("(u + v) / 2", "u"),),
        "differences",
    ),
    Fault(
        "exchange",
        "MultivariateDBSNLoss",
        "inverse not transposed",
        _MULTIVARIATE + "MultivariateDBSNLoss.forward_and_vjp",
        (("transposed(k) / 2", "k / 2"),),
        "differences",
    ),
    Fault(
        "constant",
        "MultivariateDBSNLoss",
        "small constant left out",
        _MULTIVARIATE + "MultivariateDBSNLoss.forward_and_vjp",
        (("noise + self.eps * identity(noise)", "noise"),),
        "check_float64",
    ),
)
