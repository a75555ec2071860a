"""The fields of what the simulator answers, against the SDK's classes and Stripe's fixtures.

The SDK's classes are generated from Stripe's description of its API: their annotations
are the fields of the version that the SDK is pinned to. What differs is collected while
the suite runs, and compared with a list in the simulator's folder (test_fields.py).
"""

import json
import typing
from decimal import Decimal
from importlib import import_module

import stripe
from stripe import StripeObject
from stripe._object_classes import OBJECT_CLASSES, V2_OBJECT_CLASSES

# The SDK says nothing of `object` and `url` in it, and Stripe's reference does.
HALF_DESCRIBED = ("search_result",)
# Deleted objects are another shape, of three fields.
UNSAID = {"deleted"}
# These hold a field for each kind of payment method, or of action; here it is a card, or theirs.
KINDS = (".payment_method_options", "charge.payment_method_details", ".next_action")
# What an account can do, and how each of its products is set, is no matter of billing.
UNEXPLORED = {"account.capabilities", "account.settings", "account.business_profile"}


def class_of(answer):
    """The SDK's class for an answered object, or None."""
    kind = answer["object"]
    if kind == "v2.core.event":
        return event_class(answer["type"])
    classes = V2_OBJECT_CLASSES if kind.startswith("v2.") else OBJECT_CLASSES
    found = classes.get(kind)
    if isinstance(found, tuple):
        # The newest SDK imports its classes when they are needed.
        module, name = found
        found = getattr(import_module(module), name)
    return found


def event_class(event_type):
    """Each type of v2 events has a class of its own; for its data, too."""
    classes = import_module("stripe.events._event_classes")
    if hasattr(classes, "get_v2_event_class"):
        return classes.get_v2_event_class(event_type)
    return classes.THIN_EVENT_CLASSES.get(event_type, stripe.v2.Event)


def annotations(cls):
    fields = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, StripeObject) and base is not StripeObject:
            fields.update(vars(base).get("__annotations__", {}))
    # A class may annotate what it holds for itself.
    return {
        name: hint
        for name, hint in fields.items()
        if not name.startswith("_") and typing.get_origin(hint) is not typing.ClassVar and name not in UNSAID
    }


def inner_class(cls, field):
    for base in cls.__mro__:
        found = vars(base).get("_inner_class_types", {}).get(field)
        if found is not None:
            return found
    # The data of a v2 event is named by its annotation alone.
    hint = annotations(cls).get(field)
    is_nested = isinstance(hint, type) and issubclass(hint, StripeObject)
    return hint if is_nested and typing.get_origin(hint) is None else None


def other_kinds(cls, answer):
    """The fields of the other types of an object that has one: of `us_bank_account`, in a card."""
    kinds = literals(annotations(cls).get("type"))
    return kinds - {answer.get("type")} if answer.get("type") in kinds else set()


def literals(hint):
    """All texts that an annotation names."""
    if is_literal(hint):
        return set(typing.get_args(hint))
    return {text for one in typing.get_args(hint) for text in literals(one)}


def is_literal(hint):
    # The SDK takes it from typing_extensions, which is not always typing's own.
    return getattr(typing.get_origin(hint), "__name__", None) == "Literal" or str(
        typing.get_origin(hint)
    ).endswith("Literal")


def is_optional(hint):
    return typing.get_origin(hint) is typing.Union and type(None) in typing.get_args(hint)


def fits(value, hint):
    """Whether a value is of an annotated type, where that can be told."""
    origin = typing.get_origin(hint)
    if origin is typing.Union:
        return any(fits(value, one) for one in typing.get_args(hint))
    if is_literal(hint):
        return value in typing.get_args(hint)
    if hint is type(None):
        return value is None
    if origin is list:
        (element,) = typing.get_args(hint)
        return isinstance(value, list) and all(fits(one, element) for one in value)
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint in (str, Decimal):
        # A decimal travels as a text.
        return isinstance(value, str)
    # Objects are compared field by field; a reference by name may be an id or an object.
    return value is not None


class Fields:
    """What was seen of each field, and what the SDK says of it."""

    def __init__(self):
        self.unknown = set()
        self.seen = {}
        self.present = {}
        self.beyond = set()
        self.misfits = set()
        self.answers = {}

    def note(self, answer):
        """Walks an answer and notes every object in it."""
        if isinstance(answer, list):
            for element in answer:
                self.note(element)
        elif isinstance(answer, dict):
            kind = answer.get("object")
            # What an event shows is of the account's version, not of the request's.
            if kind == "event" and answer["api_version"] != stripe.api_version:
                answer = {**answer, "data": {"object": {}}}
            is_described = isinstance(kind, str) and kind not in HALF_DESCRIBED
            if is_described and not answer.get("deleted"):
                self.note_object(answer)
            for value in answer.values():
                self.note(value)

    def note_object(self, answer):
        kind = answer["object"]
        self.answers.setdefault(kind, {})
        keep_all(self.answers[kind], answer)
        cls = class_of(answer)
        if cls is None:
            self.unknown.add(kind)
        else:
            self.compare(cls, answer, kind)

    def compare(self, cls, answer, path):
        if path in UNEXPLORED:
            return
        expected = annotations(cls)
        others = other_kinds(cls, answer)
        if path.endswith(KINDS):
            others = expected.keys() - {"card", "type", answer.get("type")}
        for name, hint in expected.items():
            if name in others and name not in answer:
                continue
            place = f"{path}.{name}"
            self.seen[place] = is_optional(hint)
            if name not in answer:
                self.present.setdefault(place, []).append(False)
                continue
            self.present.setdefault(place, []).append(True)
            value = answer[name]
            if not fits(value, hint):
                self.misfits.add(f"{place} is {json.dumps(value)}")
            inner = inner_class(cls, name)
            for element in value if isinstance(value, list) else [value]:
                if inner is not None and isinstance(element, dict) and "object" not in element:
                    self.compare(inner, element, place)
        for name in answer.keys() - expected.keys():
            self.beyond.add(f"{path}.{name}")

    def differences(self):
        """A line for each, sorted."""
        lines = {f"{kind} is not known to the SDK" for kind in self.unknown}
        for place, present in self.present.items():
            if not any(present):
                kind = "optional, never answered" if self.seen[place] else "never answered"
                lines.add(f"{place}: {kind}")
            elif not all(present) and not self.seen[place]:
                lines.add(f"{place}: not always answered")
        lines |= {f"{place}: not the SDK's" for place in self.beyond}
        lines |= {f"{misfit}: another type than the SDK's" for misfit in self.misfits}
        return sorted(lines)

    def fixture_differences(self, fixtures):
        """The same against Stripe's fixtures, which show one object of each kind."""
        lines = set()
        for kind, answer in self.answers.items():
            if kind in fixtures:
                compare_with_fixture(answer, fixtures[kind], kind, lines)
        return sorted(lines)


def keep_all(kept, answer):
    """Merges answers of one kind: a field is there if one of them had it."""
    for name, value in answer.items():
        if isinstance(value, dict) and "object" not in value:
            if not isinstance(kept.get(name), dict):
                kept[name] = {}
            keep_all(kept[name], value)
        elif not isinstance(kept.get(name), dict):
            kept[name] = value


# Keys in these are the user's own.
OWN_KEYS = {"metadata", "payload"}


def compare_with_fixture(answer, fixture, path, lines):
    if path in UNEXPLORED:
        return
    for name in fixture.keys() - answer.keys() - UNSAID:
        lines.add(f"{path}.{name}: never answered")
    for name in answer.keys() - fixture.keys():
        lines.add(f"{path}.{name}: not in the fixture")
    for name in fixture.keys() & answer.keys() - OWN_KEYS:
        ours, theirs = answer[name], fixture[name]
        if isinstance(ours, dict) and isinstance(theirs, dict) and "object" not in theirs:
            compare_with_fixture(ours, theirs, f"{path}.{name}", lines)
