"""The pickle in a file of PyTorch's, read as data: a dictionary of tensors and nothing else.

A pickle is a program, and unpickling runs it: it imports what it names and calls it. Here nothing is imported and
nothing called. A few opcodes build dictionaries, lists, tuples, strings and numbers; names are compared with those that
`torch.save` writes for a state dict, and stand for what this file does with them; everything else is refused.
(Opcodes as the standard library's pickletools defines them; tensors as torch/_utils.py rebuilds them.)
"""

from __future__ import annotations

import math
import pickletools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genai.errors import CheckpointError

__all__ = ["Storage", "TorchTensor", "read_state_dict"]

_STORAGES = {
    "torch BFloat16Storage": "BF16",
    "torch BoolStorage": "BOOL",
    "torch ByteStorage": "U8",
    "torch CharStorage": "I8",
    "torch DoubleStorage": "F64",
    "torch FloatStorage": "F32",
    "torch HalfStorage": "F16",
    "torch IntStorage": "I32",
    "torch LongStorage": "I64",
    "torch ShortStorage": "I16",
}
_DICT, _TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
_PARAMETER = "torch._utils _rebuild_parameter"
_NAMES = frozenset({_DICT, _TENSOR, _PARAMETER, *_STORAGES})
_MAX_AXES = 8
_MAX_OPCODES = 2_000_000

_CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_VALUES = frozenset(
    {
        *("BINFLOAT", "BININT", "BININT1", "BININT2", "BINSTRING", "BINUNICODE", "LONG1", "SHORT_BINSTRING"),
        *("SHORT_BINUNICODE",),
    }
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = frozenset({"PROTO", "FRAME"})


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers of one type in a file of their own.

    Args:
        dtype: Their type, by safetensors' name.
        key: The name of the file.
        size: How many there are.
    """

    dtype: str
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class TorchTensor:
    """A view of a storage, which it does not leave.

    Args:
        storage: The storage.
        offset: Where in it the tensor begins, in elements.
        shape: Its shape.
        strides: Elements from one index to the next along each axis.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Name:
    """A name that a pickle would import: "module attribute"."""

    name: str


def read_state_dict(content: bytes) -> dict[str, TorchTensor]:
    """Return the tensors of a pickled state dict by name.

    Raises:
        CheckpointError: It is malformed, or anything but a dictionary of tensors; the message begins where a file's name
            belongs before it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # of escapes in the strings of opcodes to refuse
            found = _Reader().read(content)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"its pickle is malformed ({type(error).__name__}: {error})") from error
    if not isinstance(found, dict):
        raise CheckpointError("its pickle is no dictionary of tensors")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, TorchTensor):
            raise CheckpointError(f"its pickle is no dictionary of tensors: {str(name)[:100]!r} is none")
    return found


class _Reader:
    """A stack and a memo, as a pickle's opcodes expect them."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def read(self, content: bytes) -> Any:
        """Return the object that the opcodes build."""
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if opcode.name == "STOP":
                return self._stack.pop()
            if count == _MAX_OPCODES:
                raise CheckpointError(
                    f"its pickle has more than {_MAX_OPCODES} opcodes, about 35 of which make a tensor"
                )
            self._follow(opcode.name, argument)
        raise ValueError("it has no end")

    def _follow(self, opcode: str, argument: Any) -> None:
        stack = self._stack
        if opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
        elif opcode in _VALUES:
            stack.append(argument)
        elif opcode in _TUPLES:
            stack.append(tuple(self._pop_last(_TUPLES[opcode])))
        elif opcode not in _NOTHING:
            match opcode:
                case "MARK":
                    self._marks.append(len(stack))
                case "EMPTY_DICT":
                    stack.append({})
                case "EMPTY_LIST":
                    stack.append([])
                case "TUPLE":
                    stack.append(tuple(self._pop_marked()))
                case "BINPUT" | "LONG_BINPUT":
                    self._memo[argument] = stack[-1]
                case "MEMOIZE":
                    self._memo[len(self._memo)] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(self._memo[argument])
                case "APPEND":
                    _extend(*self._pop_last(2, keep=1))
                case "APPENDS":
                    _extend(*self._pop_marked(keep=1))
                case "SETITEM":
                    _set_items(*self._pop_last(3, keep=1))
                case "SETITEMS":
                    _set_items(*self._pop_marked(keep=1))
                case "GLOBAL":
                    stack.append(_named(argument))
                case "STACK_GLOBAL":
                    stack.append(_named(" ".join(self._pop_last(2))))
                case "BINPERSID":
                    stack.append(_storage(stack.pop()))
                case "REDUCE":
                    stack.append(_call(*self._pop_last(2)))
                case "BUILD":  # what a dictionary has beside its items, such as versions of modules
                    if not isinstance(self._pop_last(2, keep=1)[0], dict):
                        raise CheckpointError("its pickle sets attributes of something that is no dictionary")
                case _:
                    raise CheckpointError(f"its pickle has the opcode {opcode}, which tensors do not need")

    def _pop_last(self, count: int, *, keep: int = 0) -> list[Any]:
        """Take so many objects off the stack, but leave the first `keep` of them there too."""
        first = len(self._stack) - count
        if first < (self._marks[-1] if self._marks else 0):
            raise ValueError("its stack is too short")
        taken = self._stack[first:]
        del self._stack[first + keep :]
        return taken

    def _pop_marked(self, *, keep: int = 0) -> list[Any]:
        """Take what is above the last mark, with the `keep` objects below it, which stay there."""
        return self._pop_last(len(self._stack) - self._marks.pop() + keep, keep=keep)


def _named(name: str) -> _Name:
    if name not in _NAMES:
        raise CheckpointError(f'its pickle names "{name[:100]}", which no tensor needs, and would run it')
    return _Name(name)


def _extend(target: Any, *items: Any) -> None:
    if not isinstance(target, list):
        raise TypeError("items are appended to something that is no list")
    target.extend(items)


def _set_items(target: Any, *items: Any) -> None:
    if not isinstance(target, dict) or len(items) % 2:
        raise TypeError("items are set of something that is no dictionary")
    for key, value in zip(items[0::2], items[1::2], strict=True):
        if not isinstance(key, str | int):
            raise TypeError("a key is no string")
        target[key] = value


def _storage(identity: Any) -> Storage:
    """Return the storage that a persistent id stands for: ("storage", type, key, device, size)."""
    kind, name, key, _, size = identity
    if kind != "storage" or not isinstance(name, _Name) or not isinstance(key, str) or not _is_count(size):
        raise ValueError("a persistent id is no storage's")
    return Storage(_STORAGES[name.name], key, size)


def _call(name: Any, arguments: Any) -> Any:
    """Return what a name that was allowed makes of its arguments."""
    if not isinstance(name, _Name) or not isinstance(arguments, tuple):
        raise TypeError("something is called that has no name")
    if name.name == _DICT and not arguments:
        return {}
    if name.name == _TENSOR:
        return _tensor(*arguments[:4])
    if name.name == _PARAMETER and isinstance(arguments[0], TorchTensor):
        return arguments[0]
    raise ValueError(f"{name.name} has other arguments than torch.save writes")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> TorchTensor:
    """Return a tensor, which must lie within its storage."""
    sizes_are_tuples = isinstance(shape, tuple) and isinstance(strides, tuple)
    if not isinstance(storage, Storage) or not sizes_are_tuples or len(shape) != len(strides):
        raise TypeError("a tensor has other arguments than torch.save writes")
    if len(shape) > _MAX_AXES or not all(_is_count(n) for n in (offset, *shape, *strides)):
        raise ValueError("a tensor's shape is impossible")
    num_elements = math.prod(shape)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if num_elements and (last >= storage.size or num_elements > storage.size):
        raise CheckpointError(
            f"a tensor of shape {list(shape)} at {offset} leaves its storage of {storage.size} elements"
        )
    return TorchTensor(storage, offset, shape, strides)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
