"""Faults of the layers that draw random numbers."""

from validation.faults.fault import Fault

_STOCHASTIC = "minigrad.layers.stochastic:"

FAULTS = (
    Fault(
        "factor",
        "Dropout",
        "what is left not scaled up in the vjp",
        _STOCHASTIC + "_Dropout.forward_and_vjp",
        (("dy * kept * scale", "dy * kept"),),
        "adjoint",
    ),
    Fault(
        "mask",
        "Dropout",
        "cotangents of dropped numbers",
        _STOCHASTIC + "_Dropout.forward_and_vjp",
        (("dy * kept * scale", "dy * scale"),),
        "adjoint",
    ),
    Fault(
        "state",
        "Dropout",
        "another mask in the vjp",
        _STOCHASTIC + "_Dropout.forward_and_vjp",
        (("dy * kept * scale", "dy * (self.noise.uniform(shape) >= self.p) * scale"),),
        "check_float64",
    ),
    Fault(
        "branch",
        "Dropout",
        "numbers dropped in evaluation mode",
        _STOCHASTIC + "_Dropout.forward_and_vjp",
        (("self.p == 0 or not self.training", "self.p == 0"),),
        "check_float64",
    ),
    Fault(
        "keeps",
        "Dropout",
        "mask of numbers instead of bytes",
        _STOCHASTIC + "_Dropout.forward_and_vjp",
        ((">= self.p\n", ">= self.p\n    kept = kept.astype(x.dtype)\n"),),
        "keeps",
    ),
    Fault(
        "axis",
        "Dropout2d",
        "pixels dropped instead of channels",
        _STOCHASTIC + "Dropout2d._mask_shape",
        (("return *x.shape[:2], 1, 1", "return x.shape"),),
        "check_float64",
    ),
    Fault(
        "factor",
        "GaussianSample",
        "half forgotten for the log-variance",
        _STOCHASTIC + "GaussianSample.forward_and_vjp",
        (("(deviation, 0.5)", "(deviation, 1.0)"),),
        "differences",
    ),
    Fault(
        "broadcast",
        "GaussianSample",
        "forgotten sum over broadcast axes of the mean",
        _STOCHASTIC + "GaussianSample.forward_and_vjp",
        (("unbroadcast(dz, mu_shape)", "dz"),),
        "arity_and_forms",
    ),
)
