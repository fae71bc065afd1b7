"""Malformed and hostile files: one error of one line, and nothing done, imported or allocated."""

from __future__ import annotations

import io
import os
import pickle
import sys
import time
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
import torch

from minigrad.checkpoint import CheckpointError
from tests.official import (
    LEGACY,
    floats,
    legacy,
    long,
    read_all,
    saved,
    tensor_program,
    zipped,
)
from zoo.convert import convert
from zoo.convert.budget import Refused
from zoo.convert.contents import read_bytes

FLOATS = np.array([1, 2], "<f4").tobytes()
NAMED = b"\x80\x02X\x01\x00\x00\x00w"


def tensors(**parts: bytes) -> bytes:
    """A zip file with one tensor, some part of which is wrong."""
    return zipped(tensor_program(**parts), data__0=FLOATS)


def listed(content: bytes, at: int, value: bytes, entry: int = 1) -> bytes:
    """A zip file with a field of an entry in the list of members exchanged."""
    start = len(b"PK\x01\x02".join(content.split(b"PK\x01\x02")[:entry])) + at
    return content[:start] + value + content[start + len(value) :]


def twice() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("a/data.pkl", b"N.")
        archive.writestr("a/data.pkl", b"N.")
    return buffer.getvalue()


def archived(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"N.")
    return buffer.getvalue()


def many_members(count: int) -> bytes:
    return archived("a/data.pkl", *(f"a/data/{i:060}" for i in range(count)))


def cyclic_module() -> bytes:
    """A module that is a part of itself."""
    table = b"}X\x08\x00\x00\x00_modules}X\x01\x00\x00\x00ah\x00ss"
    return b"\x80\x02cm\nNet\n)\x81q\x00" + table + b"b."


def doubling_modules(levels: int) -> bytes:
    """Each module has the one before it twice: 2^levels paths to the first."""
    program = b"\x80\x02cm\nNet\nq\x00h\x00)\x81q\x01}X\x08\x00\x00\x00_modules}sb0"
    for level in range(1, levels + 1):
        below, this = bytes((104, level)), bytes((113, level + 1))
        parts = b"}(X\x01\x00\x00\x00a" + below + b"X\x01\x00\x00\x00b" + below + b"u"
        program += b"h\x00)\x81" + this + b"}X\x08\x00\x00\x00_modules" + parts + b"sb0"
    return program + bytes((104, levels + 1)) + b"."


def torch_call(name: str, arguments: bytes) -> bytes:
    return NAMED.replace(b"X", b"}X") + f"ctorch._utils\n{name}\n".encode() + arguments + b"Rs."


def numpy_array(shape: bytes, raw: bytes, kind: bytes = b"X\x02\x00\x00\x00f4") -> bytes:
    kind = b"cnumpy\ndtype\n" + kind + b"\x89\x88\x87R(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xff"
    kind += b"J\xff\xff\xff\xffK\x00tb"
    blank = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    state = b"(K\x01" + shape + kind + b"\x89" + raw + b"tb"
    return b"\x80\x04}X\x01\x00\x00\x00w" + blank + state + b"s."


class Command:
    """Pickles as a call."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


BIG = 1 << 20
HOSTILE = {
    # programs
    "os.system": (pickle.dumps(Command(os.system, "touch mark")), "no state dict"),
    "os.system, torch zip": (saved(Command(os.system, "touch mark")), "no state dict"),
    "os.system, torch legacy": (saved(Command(os.system, "touch mark"), legacy=True), "no state"),
    "builtins.eval": (pickle.dumps(Command(eval, "open('mark','w')")), "no state dict"),
    "exec by INST": (b'(S\'open("mark","w")\'\ni__builtin__\nexec\n.', "no state dict"),
    "exec by OBJ": (b'(c__builtin__\nexec\nS\'open("mark","w")\'\no.', "no state dict"),
    "import by STACK_GLOBAL": (b"\x80\x04\x8c\x09antigravi\x8c\x01t\x93.", "no state dict"),
    "getattr": (
        b"\x80\x02cbuiltins\ngetattr\nX\x02\x00\x00\x00osX\x01\x00\x00\x00a\x86R.",
        "no state",
    ),
    "a tensor's class is a call": (
        tensors(kind=b"cos\nsystem\n"),
        "a storage of class 'os.system'",
    ),
    "a storage that is no name": (tensors(kind=b"X\x04\x00\x00\x00evil"), "of class 'evil'"),
    "a storage of another module": (tensors(kind=b"cevil\nFloatStorage\n"), "'evil.FloatStorage'"),
    "a storage of unknown type": (tensors(kind=b"ctorch\nQInt8Storage\n"), "QInt8Storage"),
    "a path for a storage": (tensors(key=b"X\x09\x00\x00\x00../../etc"), "storage called '../.."),
    "a persistent id of text": (b"(Pabc\n.", "unknown persistent id, 'abc'"),
    "a persistent id of None": (b"\x80\x02NQ.", "unknown persistent id, None"),
    "extension codes": (b"\x80\x02\x82\x01.", "uses EXT1"),
    "buffers outside": (b"\x80\x05\x97.", "uses NEXT_BUFFER"),
    "protocol 6": (b"\x80\x06N.", "pickle protocol 6"),
    "unknown opcode": (b"\x80\x02\xff.", "damaged near byte"),
    # bombs
    "lists without end": (b"\x80\x02" + b"]" * BIG, "more objects"),
    "sets without end": (b"\x80\x04" + b"\x8f" * BIG, "more objects"),
    "dicts of one": (b"\x80\x02" + b"}NNs" * BIG, "more objects"),
    "nested tuples": (b"\x80\x02)" + b"\x85" * BIG + b".", "more objects"),
    "nested lists": (b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".", "more objects|deeper"),
    "nested less": (b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".", "deeper than 100 levels"),
    "marks": (b"\x80\x02" + b"(" * BIG, "nests deeper than 1000"),
    "memo bomb": (b"\x80\x04N" + b"\x94" * BIG, "more objects"),
    "memo index": (b"\x80\x02Nr\xff\xff\xff\x7f.", "memo index 2147483647"),
    "memo index, text": (b"Np99999999999999999999\n.", "memo index"),
    "memo index, negative": (b"Np-1\n.", "memo index -1"),
    "memo that is not set": (b"\x80\x02h\x05.", "memo index 5 is not set"),
    "a billion laughs": (b"\x80\x02)" + b"2\x86" * 100_000 + b".", "no state dict|deeper|objects"),
    "copies of one text": (
        b"\x80\x02c_codecs\nencode\nq\x00X\x00\x00\x10\x00" + b"a" * BIG + b"X\x01\x00\x00\x00a\x86"
        b"q\x01" + b"h\x00h\x01R" * 10_000 + b".",
        "more objects",
    ),
    "calls without end": (b"\x80\x02ca\nb\nq\x000" + b"h\x00)R" * BIG, "more objects"),
    "names without end": (b"\x80\x02" + b"ca\nb\n" * BIG, "more objects"),
    "never stops": (b"\x80\x02" + b"N0" * BIG, "more objects"),
    "equal hashes": (
        b"\x80\x02}(" + b"".join(long(i * (2**61 - 1)) + b"N" for i in range(50_000)) + b"u.",
        "no state dict",
    ),
    "a key that nests": (b"\x80\x02})" + b"\x85" * 50_000 + b"Ns.", "no state dict"),
    "a list in itself": (b"\x80\x02]q\x00h\x00a.", "no state dict"),
    "a module in itself": (cyclic_module(), "nests deeper than 100"),
    "2^60 modules": (doubling_modules(60), "more objects|deeper"),
    "digits without end": (b"I" + b"9" * BIG + b"\n.", "damaged near byte"),
    # sizes
    "8 GiB by zero strides": (
        tensors(size=long(1 << 31) + b"\x85", stride=b"K\x00\x85"),
        "declare 2147483648 values, more than the limit of 67108864 bytes",
    ),
    "a shape beyond memory": (
        tensors(size=long(1 << 61) + b"\x85"),
        "tensor's size: expected whole",
    ),
    "two huge axes": (
        tensors(size=long(1 << 40) + long(1 << 40) + b"\x86", stride=b"K\x00K\x00\x86"),
        "larger than any memory",
    ),
    "huge axes and none": (
        tensors(size=b"K\x00" + long(1 << 57) + b"\x86", stride=b"K\x00K\x00\x86"),
        "does not fit",
    ),
    "a size of 2^200": (tensors(size=b"\x8a\x1a" + b"\xff" * 25 + b"\x00\x85"), "integer of 200"),
    "a negative size": (tensors(size=b"J\xff\xff\xff\xff\x85"), "whole numbers from 0, got -1"),
    "a negative stride": (tensors(stride=b"J\xff\xff\xff\xff\x85"), "tensor's stride"),
    "a negative offset": (tensors(offset=b"J\xff\xff\xff\xff"), "tensor's offset"),
    "an offset beyond": (tensors(offset=b"K\x01"), "does not fit"),
    "a stride beyond": (tensors(stride=b"K\x09\x85"), "does not fit"),
    "a size that is a text": (tensors(size=b"X\x01\x00\x00\x00a"), "tensor's size"),
    "a size of fractions": (tensors(size=b"G?\xf0\x00\x00\x00\x00\x00\x00\x85"), "got 1.0"),
    "a size of truths": (tensors(size=b"\x88\x85"), "tensor's size"),
    "more strides than axes": (tensors(stride=b"K\x01K\x01\x86"), "1 axes with 2 strides"),
    "a thousand axes": (tensors(size=b"(" + b"K\x01" * 1000 + b"t"), "1000 axes"),
    "a storage larger than its member": (tensors(count=b"K\x63"), "has 8 bytes, expected 396"),
    "a storage of -1 values": (tensors(count=b"J\xff\xff\xff\xff"), "a storage of -1 values"),
    "a storage of text values": (tensors(count=b"X\x01\x00\x00\x00a"), "storage of 'a' values"),
    "a name with line breaks": (
        zipped(
            tensor_program().replace(b"\x01\x00\x00\x00w", b"\x03\x00\x00\x00a\nb"), data__0=FLOATS
        ),
        r"unexpected: 'a\\nb'",
    ),
    "a name of a megabyte": (
        zipped(
            tensor_program().replace(b"\x01\x00\x00\x00w", b"\x00\x00\x10\x00" + b"w" * BIG),
            data__0=FLOATS,
        ),
        r"unexpected: 'wwww\w+'\.\.\.",
    ),
    "a tensor without arguments": (zipped(torch_call("_rebuild_tensor_v2", b")")), "0 arguments"),
    "a tensor of None": (zipped(torch_call("_rebuild_tensor_v2", b"(NNNNt")), "storage is None"),
    "a tensor rebuilt for ever": (
        zipped(b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\nq\x00(h\x00NNNtR."),
        "what is no function",
    ),
    "a parameter of nothing": (zipped(torch_call("_rebuild_parameter", b")")), "0 arguments"),
    "an array of 2^40": (numpy_array(long(1 << 40) + b"\x85", b"C\x04abcd"), "its shape needs"),
    "an array of -1": (numpy_array(b"J\xff\xff\xff\xff\x85", b"C\x04abcd"), "array's shape"),
    "an array of too little": (numpy_array(b"K\x03\x85", b"C\x04abcd"), "array of 4 bytes"),
    "an array of objects": (
        numpy_array(b"K\x01\x85", b"C\x08abcdefgh", b"X\x02\x00\x00\x00O8"),
        "does not fit|not plain",
    ),
    "an array of records": (
        numpy_array(b"K\x01\x85", b"C\x04abcd", b"X\x05\x00\x00\x00f4,f4"),
        "does not fit|not plain",
    ),
    "an array of no bytes": (numpy_array(b"K\x01\x85", b"K\x05"), "bytes made of 5"),
    # stacks
    "an empty pickle": (b"\x80\x02.", "empty stack"),
    "pop of nothing": (b"\x80\x020.", "mark that is not there"),
    "a mark that is not there": (b"\x80\x02Nt.", "mark that is not there"),
    "append to a number": (b"\x80\x02K\x01Na.", "it adds to 1"),
    "items of a list": (b"\x80\x02]NNs.", "it adds to list"),
    "a key without a value": (b"\x80\x02}(Nu.", "a key without a value"),
    "a call without arguments": (b"\x80\x02ca\nb\nNR.", "with None for arguments"),
    "a state for a number": (b"\x80\x02K\x01}b.", "1 with a state"),
    "a name that is no text": (b"\x80\x04NN\x93.", "a name that is no text"),
    # containers
    "a zip without its end": (tensors()[:-30], "truncated: a zip archive without its end"),
    "a zip of nothing": (b"PK\x03\x04" + b"\0" * 60, "truncated"),
    "a compressed bomb": (zipped(b"N." + b"\0" * (8 << 20), zipfile.ZIP_DEFLATED), "compressed"),
    "an encrypted member": (listed(tensors(), 8, b"\x01"), "is encrypted"),
    "a member twice": (twice(), "is there twice"),
    "a path upwards": (archived("a/data.pkl", "a/../../etc/mark"), "leads elsewhere"),
    "a path from the root": (archived("a/data.pkl", "/etc/mark"), "leads elsewhere"),
    "a path of Windows": (archived("a/data.pkl", "a/..\\mark"), "odd characters"),
    "two programs": (archived("a/data.pkl", "b/data.pkl"), "no single member"),
    "no program": (archived("a/readme"), "no single member"),
    "a .keras archive": (
        archived("config.json", "model.weights.h5"),
        "in Keras, save the model as",
    ),
    "a wrong checksum": (listed(tensors(), 16, b"\1\2\3\4"), "its checksum differs"),
    "a member beyond the end": (listed(tensors(), 20, b"\xff\xff\xff\x7f" * 2), "beyond"),
    "a member before the file": (listed(tensors(), 42, b"\xff\xff\xff\x7f"), "damaged|overlaps"),
    "members that overlap": (listed(tensors(), 42, b"\0\0\0\0", entry=2), "overlaps"),
    "a member that is missing": (zipped(tensor_program()), "'a/data/0' is missing"),
    "a byte order of its own": (zipped(tensor_program(), byteorder=b"pdp"), "byte order b'pdp'"),
    "a list of 40,000 members": (many_members(25_000), "a list of members of"),
    "legacy, another protocol": (LEGACY[:17] + b"\x80\x02K\x07." + b"N.", "protocol 7"),
    "legacy, no values": (legacy(tensor_program(), ["0"], b""), "persistent id"),
    "legacy, without storages": (LEGACY + b"N.N.", "list of storages is damaged"),
    "legacy, unknown storage": (
        legacy(b"N.", ["7"], floats(1.0)),
        "storage '7', which no tensor has",
    ),
    "legacy, ends early": (LEGACY, "truncated: the file ends within its pickle"),
}


@pytest.fixture(scope="module", autouse=True)
def begun():
    """What Python itself imports with the first file of a kind, such as the codec of zip names."""
    for content in (saved([1]), saved([1], legacy=True), zipped(b"N.")):
        read_bytes(content)


@pytest.fixture
def quiet(tmp_path, monkeypatch):
    """A folder in which nothing but the file may appear."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_quick(seconds: float) -> bool:
    """At most a second of processor time, or what a busy or slower machine takes for the same."""
    if seconds < 1:
        return True
    began = time.process_time()
    made: list[list[int]] = []
    for _ in range(1 << 18):
        made.append([])
    return seconds < 18 * (time.process_time() - began)


def refused(path, content: bytes, words: str) -> None:
    """The file ends with one line, quickly, and without a trace."""
    path.write_bytes(content)
    target = path.with_name("out.safetensors")
    before, began = set(sys.modules), time.process_time()
    with pytest.raises(CheckpointError, match=words) as caught:
        convert(path, "dncnn-s", target)
    seconds = time.process_time() - began
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < 600
    assert set(sys.modules) == before
    assert os.listdir(path.parent) == [path.name]
    assert is_quick(seconds)


def test_there_are_enough_of_them():
    assert len(HOSTILE) >= 90


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file(name, quiet):
    content, words = HOSTILE[name]
    refused(quiet / "a.pt", content, words)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.proof if len(content) > 100_000 else ())
        for name, (content, _) in HOSTILE.items()
    ],
)
def test_a_hostile_file_takes_little_memory(name):
    content, _ = HOSTILE[name]
    tracemalloc.start()
    try:
        with pytest.raises(Refused):
            read_all(content, max_bytes=1 << 20)
            raise Refused("read, but of no use")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < max(64 << 20, 4 * len(content))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tensors(offset=b"K\x01"), "reaches to value 2 of a storage of 2"),
        (tensors(offset=b"K\x02", size=b")", stride=b")"), "reaches to value 2"),
        (tensors(stride=b"K\x02\x85"), "reaches to value 2"),
        (tensors(size=b"K\x03\x85"), "reaches to value 2"),
        (tensors(size=b"K\x02K\x02\x86", stride=b"K\x01K\x01\x86"), "reaches to value 2"),
        (tensors(kind=b"ctorch\nDoubleStorage\n"), "has 8 bytes, expected 16"),
        (tensors(size=long(1 << 31) + b"\x85", stride=b"K\x00\x85"), "more than the limit"),
    ],
)
def test_a_tensor_stays_within_its_storage(content, words):
    with pytest.raises(Refused, match=words):
        read_all(content)


def old_tensors(program: bytes, *values: float, keys: tuple[str, ...] = ("0",)) -> bytes:
    return legacy(program, [*keys], floats(*values) * len(keys))


OLD = tensor_program().replace(b"K\x02tQ", b"K\x02NtQ")
PART = b"(X\x01\x00\x00\x00vK\x01K\x09ttQ"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (old_tensors(OLD, 1.0), "storage '0' has 1 values, expected 2"),
        (old_tensors(OLD, 1.0, 2.0)[:-1], "truncated: storage '0' takes 8 bytes, 7 are left"),
        (old_tensors(OLD, 1.0, 2.0)[:-9], "truncated: storage '0' takes 8 bytes, 0 are left"),
        (old_tensors(OLD, 1.0, 2.0, keys=("0", "0")), "storage '0', which no tensor has or"),
        (old_tensors(OLD, 1.0, 2.0, keys=()), "the values of storage '0' are missing"),
        (old_tensors(OLD.replace(b"NtQ", PART), 1.0, 2.0), "part of storage '0' that reaches"),
        (
            old_tensors(OLD[:-2] + b"0" + OLD[2:-2].replace(b"K\x02N", b"K\x03N") + b"s.", 1.0),
            "storage '0' is declared in two ways",
        ),
    ],
)
def test_storages_of_the_old_format(content, words):
    read_all(old_tensors(OLD, 1.0, 2.0))
    with pytest.raises(Refused, match=words):
        read_all(content)


def test_numpy_scalars_of_another_length():
    kind = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R"
    program = b"\x80\x04cnumpy.core.multiarray\nscalar\n" + kind + b"C\x08abcdefgh\x86R."
    with pytest.raises(Refused, match="a NumPy scalar of 8 bytes, expected 4"):
        read_all(program)


def sample() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))


@pytest.mark.parametrize("old", [False, True])
def test_a_file_cut_anywhere(old):
    content = saved({"model": sample().state_dict(), "score": np.float64(1)}, legacy=old)
    read_bytes(content)
    for end in {*range(0, len(content), 7), *range(len(content) - 40, len(content))}:
        with pytest.raises(Refused, match="truncated|empty file|no weights file|damaged zip"):
            read_all(content[:end])


def mutated(count: int, seed: int) -> None:
    """Files with one to three random bytes exchanged: an error of ours, or a clean load."""
    content = {"model": [sample().state_dict()], "score": np.float64(1), "x": [1, (2,), "three"]}
    zips, legacies = (saved(content, legacy=old) for old in (False, True))
    with zipfile.ZipFile(io.BytesIO(zips)) as archive:
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    program = members.pop("data.pkl")
    members = {name.replace("/", "__"): member for name, member in members.items()}
    rng = np.random.default_rng(seed)
    loaded = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for turn in range(count):
            # Checksums would hide the program of a zip file from most faults.
            broken = bytearray((zips, legacies, program)[turn % 3])
            for place in rng.integers(0, len(broken), rng.integers(1, 4)):
                broken[place] = rng.integers(256)
            whole = zipped(bytes(broken), **members) if turn % 3 == 2 else bytes(broken)
            began = time.process_time()
            try:
                read_all(whole)
                loaded += 1
            except Refused:
                pass
            assert is_quick(time.process_time() - began)
    assert 0 < loaded < count


def test_mutated_files():
    mutated(1000, seed=0)


@pytest.mark.proof
def test_many_mutated_files():
    mutated(20_000, seed=1)
