"""Faults of the normalisations."""

from validation.faults.fault import Fault

_NORM = "minigrad.layers.norm:"
_FREE = "minigrad.layers.bias_free_norm:"
_NORMALIZE = "minigrad.layers.normalize:"

FAULTS = (
    Fault(
        "statistics",
        "BatchNorm2d",
        "running variance moved towards the biased one",
        _NORM + "BatchNorm2d._follow",
        (("variance * (n / (n - 1))", "variance"),),
        "check_float64",
    ),
    Fault(
        "statistics",
        "BatchNorm2d",
        "running statistics replaced instead of moved",
        _NORM + "move",
        (("running *= 1 - part", "running = running * (1 - part)"),),
        "check_float64",
    ),
    Fault(
        "statistics",
        "BatchNorm2d",
        "statistics of the batch in evaluation mode",
        _NORM + "BatchNorm2d._takes_the_batch",
        (("(self.training and not self.frozen)", "not self.frozen"),),
        "check_float64",
    ),
    Fault(
        "statistics",
        "BatchNorm2d",
        "running statistics moved in evaluation mode",
        _NORM + "BatchNorm2d._by_running_statistics",
        (("y = x - mean\n", "y = x - mean\n    self.running_mean *= 0.9\n"),),
        "buffers_rest_in_eval",
    ),
    Fault(
        "factor",
        "BatchNorm2d",
        "variance treated as a constant",
        _NORM + "batch_normalise_vjp",
        (("dx -= xh * (d_weight / n)", "pass"),),
        "differences",
    ),
    Fault(
        "factor",
        "BatchNorm2d",
        "mean treated as a constant",
        _NORM + "batch_normalise_vjp",
        (("dx = dy - d_bias / n", "dx = dy * 1"),),
        "differences",
    ),
    Fault(
        "axis",
        "BatchNorm2d",
        "statistics of each image",
        _NORM + "batch_normalise",
        (("mean = x.sum(PER_CHANNEL,", "mean = len(x) * x.sum((2, 3),"),),
        "check_float64",
    ),
    Fault(
        "state",
        "BatchNorm2d",
        "running mean kept instead of a copy",
        _NORM + "BatchNorm2d._by_running_statistics",
        (("self.running_mean.copy()", "self.running_mean"),),
        "calls_are_independent",
    ),
    Fault(
        "statistics",
        "BFBatchNorm2d",
        "biased variance",
        _FREE + "BFBatchNorm2d.forward_and_vjp",
        (("self.num_features - 1)", "self.num_features)"),),
        "check_float64",
    ),
    Fault(
        "constant",
        "BFBatchNorm2d",
        "constant inside the root",
        _FREE + "BFBatchNorm2d.forward_and_vjp",
        (("s = xp.sqrt(variance)", "s = xp.sqrt(variance + self.eps**2)"),),
        "check_float64",
    ),
    Fault(
        "accumulate",
        "BFBatchNorm2d",
        "weight cotangent assigned in place",
        _FREE + "BFBatchNorm2d.forward_and_vjp",
        (
            (
                "self.accumulate(weight=(dot / d).reshape(-1))",
                "self.d_weight[...] = (dot / d).reshape(-1)",
            ),
        ),
        "accumulates",
    ),
    Fault(
        "factor",
        "BFStdNorm2d",
        "one division by the deviation too few",
        _FREE + "BFStdNorm2d.forward_and_vjp",
        (("factor / (s * s * n)", "factor / (s * n)"),),
        "differences",
    ),
    Fault(
        "state",
        "BFStdNorm2d",
        "running deviation kept instead of a copy",
        _FREE + "BFStdNorm2d.forward_and_vjp",
        (("self.running_sd.copy()", "self.running_sd"),),
        "calls_are_independent",
    ),
    Fault(
        "factor",
        "Normalize",
        "part along the output left in",
        _NORMALIZE + "normalize_dx",
        (("dy - y * along", "dy"),),
        "differences",
    ),
    Fault(
        "branch",
        "Normalize",
        "length that varies although the floor holds",
        _NORMALIZE + "normalize_dx",
        (
            (
                "xp.where(norm < least, 0, (dy * y).sum(dim, keepdims=True))",
                "(dy * y).sum(dim, keepdims=True)",
            ),
        ),
        "check_float64",
    ),
    Fault(
        "axis",
        "Normalize",
        "lengths along the axis before",
        _NORMALIZE + "normalize_dx",
        (("(dy * y).sum(dim,", "(dy * y).sum(dim - 1 if y.ndim > 1 else dim,"),),
        "check_float64",
    ),
)
