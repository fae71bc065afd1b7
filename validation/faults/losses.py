"""Faults of the regression losses."""

from validation.faults.fault import Fault

_REGRESSION = "minigrad.losses.regression:"

FAULTS = (
    Fault(
        "factor",
        "MSELoss",
        "loss forgets its cotangent",
        _REGRESSION + "MSELoss.forward_and_vjp",
        (("d * (dvalue * (2 * weight))", "d * (2 * weight)"),),
        "check_float64",
    ),
    Fault(
        "form",
        "MSELoss",
        "mean of no numbers",
        "minigrad.reduction:Reduced._weight",
        (("1 / n if n else nan", "1 / n"),),
        "empty_batch",
    ),
    Fault(
        "tie",
        "L1Loss",
        "derivative at zero is one",
        _REGRESSION + "L1Loss.forward_and_vjp",
        (("xp.sign(d)", "xp.where(d < 0, -1, 1)"),),
        "check_float64",
    ),
    Fault(
        "reduction",
        "CharbonnierLoss",
        "vjp of the sum",
        _REGRESSION + "CharbonnierLoss.forward_and_vjp",
        (("dvalue * weight", "dvalue"),),
        "check_float64",
    ),
    Fault(
        "constant",
        "CharbonnierLoss",
        "constant not squared",
        _REGRESSION + "CharbonnierLoss.forward_and_vjp",
        (("self.eps**2", "self.eps"),),
        "check_float64",
    ),
    Fault(
        "mask",
        "MaskedMSELoss",
        "cotangents of pixels that do not count",
        _REGRESSION + "MaskedMSELoss.forward_and_vjp",
        (("gradient = mask * masked", "gradient = prediction - target"),),
        "differences",
    ),
    Fault(
        "reduction",
        "MaskedMSELoss",
        "mask of one channel counted once",
        _REGRESSION + "MaskedMSELoss.forward_and_vjp",
        (("(1 if mask.shape == shape else shape[1])", "1"),),
        "check_float64",
    ),
    Fault(
        "detached",
        "MaskedMSELoss",
        "a cotangent for the target",
        _REGRESSION + "MaskedMSELoss.forward_and_vjp",
        (("(2 * weight)), None, None", "(2 * weight)), -gradient * dvalue, None"),),
        "arity_and_forms",
    ),
    Fault(
        "factor",
        "AnnealedL0Loss",
        "exponent not lowered by one",
        _REGRESSION + "AnnealedL0Loss.forward_and_vjp",
        (("(gamma - 1)", "gamma"),),
        "differences",
    ),
    Fault(
        "detached",
        "HDRLoss",
        "denominator differentiated",
        _REGRESSION + "HDRLoss.forward_and_vjp",
        (
            (
                "scaled * (dvalue",
                "(scaled - d * scaled / (xp.abs(prediction) + self.eps) * xp.sign(prediction))"
                " * (dvalue",
            ),
        ),
        "check_float64",
    ),
    Fault(
        "keeps",
        "HDRLoss",
        "difference kept beside the quotient",
        _REGRESSION + "HDRLoss.forward_and_vjp",
        (
            (
                "return scaled * (dvalue * (2 * weight)), None",
                "return d * (scaled / d) * (dvalue * (2 * weight)), None",
            ),
        ),
        "keeps",
    ),
)
