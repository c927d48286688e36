"""Damage files: their bytes, and the fields of protobuf messages."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message

NUMBERS = (0, 1, -1, 2, 3, 7, 127, 255, -(2**31), 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, float("inf"), float("-inf"), float("nan"))
TEXTS = ("", "x", "Relu", "Conv", "../../etc/passwd", "/etc/passwd", "\u202e", "a\nb", "%s%n", "ai.onnx", "é" * 300)
LONGEST = 1 << 20
INTEGERS = (Field.TYPE_INT32, Field.TYPE_INT64, Field.TYPE_UINT64, Field.TYPE_ENUM)


def damage(data: bytes, rng: random.Random) -> bytes:
    """Cut, flip, overwrite, repeat or insert some bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(changed) + 1)
        until = min(len(changed), at + rng.choice((1, 2, 4, 16, 256)))
        match rng.randrange(7):
            case 0:
                del changed[at:]
            case 1 | 2 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 3:
                changed[at:until] = rng.randbytes(until - at)
            case 4:
                changed[at:at] = changed[at:until]
            case 5:
                changed[at:at] = rng.randbytes(rng.choice((1, 4, 64)))
            case _:
                del changed[at:until]
    return bytes(changed)


def disturb(message: Message, rng: random.Random) -> None:
    """Change some fields anywhere in `message`: numbers to extremes, names to others, parts gone, doubled or moved."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        places = list(_places(message))
        if not places:
            return
        owner, field = rng.choice(places)
        (_disturb_many if field.is_repeated else _disturb_one)(owner, field, message, rng)


def _places(message: Message) -> Iterator[tuple[Message, Field]]:
    """Every field that is set, with the message it is in."""
    waiting = [message]
    while waiting:
        owner = waiting.pop()
        for field, value in owner.ListFields():
            yield owner, field
            if field.type == Field.TYPE_MESSAGE:
                waiting.extend(value if field.is_repeated else [value])


def _disturb_one(owner: Message, field: Field, whole: Message, rng: random.Random) -> None:
    if field.type == Field.TYPE_MESSAGE:
        _replace(getattr(owner, field.name), whole, rng)
    elif rng.random() < 0.1:
        owner.ClearField(field.name)
    else:
        _assign(lambda value: setattr(owner, field.name, value), field, getattr(owner, field.name), whole, rng)


def _disturb_many(owner: Message, field: Field, whole: Message, rng: random.Random) -> None:
    values = getattr(owner, field.name)
    at = rng.randrange(len(values))
    match rng.randrange(6):
        case 0:
            del values[at]
        case 1:
            values.append(values[at]) if field.type != Field.TYPE_MESSAGE else values.add().CopyFrom(values[at])
        case 2:
            order = list(values)
            rng.shuffle(order)
            del values[:]
            values.extend(order)
        case 3 if rng.random() < 0.3:
            owner.ClearField(field.name)
        case _ if field.type == Field.TYPE_MESSAGE:
            _replace(values[at], whole, rng)
        case _:
            _assign(lambda value: values.__setitem__(at, value), field, values[at], whole, rng)


def _replace(part: Message, whole: Message, rng: random.Random) -> None:
    """Put another part of the same kind there, or nothing."""
    kind = part.DESCRIPTOR.full_name
    others = [value for value in _messages(whole) if value.DESCRIPTOR.full_name == kind]
    copy = type(part)()
    if others and rng.random() < 0.8:
        copy.CopyFrom(rng.choice(others))
    part.CopyFrom(copy)


def _messages(message: Message) -> Iterator[Message]:
    waiting = [message]
    while waiting:
        owner = waiting.pop()
        yield owner
        for field, value in owner.ListFields():
            if field.type == Field.TYPE_MESSAGE:
                waiting.extend(value if field.is_repeated else [value])


def _assign(put: Callable[[Any], None], field: Field, old: Any, whole: Message, rng: random.Random) -> None:
    try:
        put(_value(field, old, whole, rng))
    except (ValueError, TypeError):
        # Out of the field's range, or no name of its enumeration.
        put(old)


def _value(field: Field, old: Any, whole: Message, rng: random.Random) -> Any:
    if field.type in INTEGERS:
        return rng.choice((old + 1, old - 1, *NUMBERS))
    if field.type in (Field.TYPE_FLOAT, Field.TYPE_DOUBLE):
        return rng.choice(FLOATS)
    if field.type == Field.TYPE_STRING:
        return rng.choice((*TEXTS, rng.choice(list(_texts(whole)))))
    return damage(old, rng) if rng.random() < 0.7 else rng.randbytes(rng.choice((0, 1, len(old) + 1)))


def _texts(message: Message) -> Iterator[str]:
    """Every text, so that names of other values, operators and domains come up."""
    yield ""
    for owner in _messages(message):
        for field, value in owner.ListFields():
            if field.type == Field.TYPE_STRING:
                yield from value if field.is_repeated else [value]


def mutated(model: onnx.ModelProto, rng: random.Random) -> bytes:
    """A damaged model file."""
    if rng.random() < 0.4:
        return damage(model.SerializeToString(), rng)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    disturb(copy, rng)
    return copy.SerializeToString()
