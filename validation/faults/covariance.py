"""Faults of the layers on 3x3 matrices, and of the posterior means."""

from validation.faults.fault import Fault

_COVARIANCE = "minigrad.layers.covariance:"
_POSTERIOR = "minigrad.layers.posterior:"

FAULTS = (
    Fault(
        "exchange",
        "Covariance3x3",
        "cotangent taken for symmetric",
        _COVARIANCE + "Covariance3x3.forward_and_vjp",
        (("g + transposed(g)", "g + g"),),
        "check_float64",
    ),
    Fault(
        "exchange",
        "Inverse3x3",
        "inverse not transposed",
        _COVARIANCE + "Inverse3x3.forward_and_vjp",
        (("transposed(planes(y))", "planes(y)"),),
        "check_float64",
    ),
    Fault(
        "sign",
        "Inverse3x3",
        "minus forgotten",
        _COVARIANCE + "Inverse3x3.forward_and_vjp",
        (("matrices(-product", "matrices(product"),),
        "differences",
    ),
    Fault(
        "exchange",
        "LogDet3x3",
        "inverse not transposed",
        _COVARIANCE + "LogDet3x3.forward_and_vjp",
        (("transposed(inverse)", "inverse"),),
        "differences",
    ),
    Fault(
        "branch",
        "LogDet3x3",
        "minimum forgotten in the vjp",
        _COVARIANCE + "LogDet3x3.forward_and_vjp",
        (("xp.where(free, ", "xp.where(free == free, "),),
        "check_float64",
    ),
    Fault(
        "sign",
        "LogDet3x3",
        "sign of an exchange of rows",
        "minigrad.matrices:eliminate",
        (("-upper, lower", "upper, lower"),),
        "check_float64",
    ),
    Fault(
        "mask",
        "ReplaceZeros",
        "cotangents of zeros that were replaced",
        _COVARIANCE + "ReplaceZeros.forward_and_vjp",
        (("array_module(dy).where(passes, dy, 0)", "dy"),),
        "check_float64",
    ),
    Fault(
        "factor",
        "PosteriorMean",
        "weight of the noise forgotten",
        _POSTERIOR + "PosteriorMean.forward_and_vjp",
        (("-self.gamma * a * r * dy", "-a * r * dy"),),
        "differences",
    ),
    Fault(
        "exchange",
        "PosteriorMean",
        "weights of the two opinions exchanged in the vjp",
        _POSTERIOR + "PosteriorMean.forward_and_vjp",
        (("return b * dy, a * dy,", "return a * dy, b * dy,"),),
        "check_float64",
    ),
    Fault(
        "exchange",
        "MultivariatePosteriorMean",
        "weight of the noisy pixel not transposed",
        _POSTERIOR + "MultivariatePosteriorMean.forward_and_vjp",
        (("applied(transposed(b), dmean)", "applied(b, dmean)"),),
        "check_float64",
    ),
    Fault(
        "sign",
        "MultivariatePosteriorMean",
        "cotangent of a covariance with the other sign",
        _POSTERIOR + "MultivariatePosteriorMean.forward_and_vjp",
        (("/ -self.gamma", "/ self.gamma"),),
        "differences",
    ),
)
