"""Faults of what holds the layers together: modules, the tape, containers."""

from validation.faults.fault import Fault

_TAPE = "minigrad.wiring:Tape.pull"
_COMPOSITE = "minigrad.wiring:Composite.forward_and_vjp"
_MODULE = "minigrad.module:Module."

FAULTS = (
    Fault(
        "accumulate",
        "Conv2d",
        "assignment instead of accumulation",
        _MODULE + "accumulate",
        (("grad += cotangent", "grad[...] = cotangent"),),
        "accumulates",
    ),
    Fault(
        "accumulate",
        "Linear",
        "a new array instead of accumulation in place",
        _MODULE + "accumulate",
        (("grad += cotangent", 'setattr(self, f"d_{name}", grad + cotangent)'),),
        "accumulates",
    ),
    Fault(
        "state",
        "Sequential",
        "train() stores what it is given",
        _MODULE + "train",
        (("self.training = mode", "self.training = int(mode)"),),
        "training_is_a_bool",
    ),
    Fault(
        "once",
        "Sequential",
        "a vjp that stays alive",
        "minigrad.wiring:once",
        (("held.pop()(*dys)", "held[0](*dys)"),),
        "single_use",
    ),
    Fault(
        "wiring",
        "Residual",
        "forgotten sum where a value is used twice",
        _TAPE,
        (("cotangents[x.key] + dx if x.key in cotangents else dx", "dx"),),
        "differences",
    ),
    Fault(
        "writes",
        "Residual",
        "tape adds in place",
        _TAPE,
        (("cotangents[x.key] + dx if", "cotangents[x.key].__iadd__(dx) if"),),
        "nobody_writes",
    ),
    Fault(
        "wiring",
        "two outputs",
        "forgotten sum where a value is returned twice",
        _COMPOSITE,
        (("seeds[key] + dy if key in seeds else dy", "dy"),),
        "differences",
    ),
    Fault(
        "wiring",
        "Residual",
        "composite returns None",
        _COMPOSITE,
        (("tuple(cotangents.get(key) for", "tuple(None for"),),
        "arity_and_forms",
    ),
    Fault(
        "wiring",
        "two outputs",
        "composite returns None, seen by differences",
        _COMPOSITE,
        (("tuple(cotangents.get(key) for", "tuple(None for"),),
        "differences",
    ),
    Fault(
        "rounding",
        "Residual",
        "the two forwards differ in the last bit",
        "minigrad.wiring:Composite.forward",
        (("self.wire(*xs)", "self.wire(*(x / 3 * 3 for x in xs))"),),
        "same_outputs",
    ),
    Fault(
        "state",
        "Checkpoint with noise",
        "recomputed pass draws new noise",
        "minigrad.containers:Checkpoint.forward_and_vjp",
        (("first.restore()", "pass"),),
        "like_the_wrapped",
    ),
    Fault(
        "state",
        "Checkpoint with a buffer",
        "recomputed pass counts in the running statistics",
        "minigrad.containers:Checkpoint.forward_and_vjp",
        (("with unchanged(self.module):", "if True:"),),
        "like_the_wrapped",
    ),
)
