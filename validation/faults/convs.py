"""Faults of the convolutions with masks and with asymmetric borders."""

from validation.faults.fault import Fault

_MASKED = "minigrad.layers.masked_conv:"
_SAME = "minigrad.layers.same_conv:"

FAULTS = (
    Fault(
        "mask",
        "MaskedConv2d",
        "dead taps in the cotangent of the weight",
        _MASKED + "MaskedConv2d.forward_and_vjp",
        (("weight=without_dead_taps(dw, self.mask)", "weight=dw"),),
        "check_float64",
    ),
    Fault(
        "mask",
        "MaskedConv2d",
        "dead taps in the cotangent of the input",
        _MASKED + "MaskedConv2d.forward_and_vjp",
        (("without_dead_taps(self.weight, self.mask)", "self.weight"),),
        "adjoint",
    ),
    Fault(
        "writes",
        "MaskedConv2d",
        "zeros written into the weight itself",
        _MASKED + "without_dead_taps",
        (("weight.copy()", "weight"),),
        "nobody_writes",
    ),
    Fault(
        "factor",
        "TrimmedConv2d",
        "bias cotangent of windows without a live tap",
        _MASKED + "TrimmedConv2d.forward_and_vjp",
        (("(dy * some).sum", "dy.sum"),),
        "check_float64",
    ),
    Fault(
        "constant",
        "TrimmedConv2d",
        "a constant of 1e-7 instead of 1e-8",
        _MASKED + "TrimmedConv2d._factors",
        (("1e-8", "1e-7"),),
        "check_float64",
    ),
    Fault(
        "dtype",
        "TrimmedConv2d",
        "taps counted in float64",
        _MASKED + "TrimmedConv2d._live_taps",
        (("dtype=x.dtype", "dtype=float"),),
        "float64_does_not_leak",
    ),
    Fault(
        "border",
        "SameConv2d",
        "extra pixel before instead of after",
        _SAME + "same_border",
        (("return total // 2, total - total // 2", "return total - total // 2, total // 2"),),
        "check_float64",
    ),
    Fault(
        "border",
        "SameConv2d",
        "windows rounded down instead of up",
        _SAME + "same_border",
        (("-(-n // stride)", "max(1, n // stride)"),),
        "check_float64",
    ),
    Fault(
        "border",
        "SameConvTranspose2d",
        "border of the input's size instead of the output's",
        _SAME + "SameConvTranspose2d.forward_and_vjp",
        (("self._window(dy.shape[2:])", "self._window(x.shape[2:])"),),
        "check_float64",
    ),
    Fault(
        "accumulate",
        "SameConvTranspose2d",
        "bias added in place of the images",
        _SAME + "SameConvTranspose2d.forward",
        (("y += self.bias[:, None, None]", "y[...] = self.bias[:, None, None]"),),
        "check_float64",
    ),
)
