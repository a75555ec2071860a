"""Our webhook check against the SDK's, on a corpus that each run makes anew.

The SDK signs and judges; our check, a program of Rust (`webhook-judge`), judges the same.
What the SDK refuses, ours must refuse. What the SDK signs, ours must accept. Where ours is
stricter than the SDK, on purpose, the case says so. SEED=… plays a run again.
"""

import hashlib
import hmac
import json
import os
import random
import subprocess
from collections import Counter
from types import SimpleNamespace

import pytest
import stripe

from conftest import IS_ACACIA
from simulator import PROGRAMS

NOW = 1_769_860_800
SECRET = "whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH"
TOLERANCE_S = 300
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(2**32))

# Why ours may refuse what the SDK accepts.
FUTURE = "signed for a time too far ahead: good until then, if it were taken"
ODD_TIME = "a time that only Python reads as a number"
ODD_PAIR = "a second equals sign in a pair"
TOO_LONG = "a header longer than any of Stripe's"
NO_SECRET = "no secret is known to everybody"
NOT_ASCII = "Stripe's header is ASCII"


def signature(time, body, secret=SECRET):
    signed = str(time).encode() + b"." + body
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


class Corpus:
    def __init__(self):
        self.random = random.Random(SEED)
        self.cases = []

    def add(self, kind, header, body, secret=SECRET, now=NOW, tolerance=TOLERANCE_S, stricter=None):
        self.cases.append(
            SimpleNamespace(
                kind=kind,
                header=header,
                body=body,
                secret=secret,
                now=now,
                tolerance=tolerance,
                stricter=stricter,
            )  # fmt: skip
        )

    def body(self):
        """An event's body, of any size and script."""
        letters = 'abc \t\n"\\{}[]äß漢字🚀\u2028\u0000e\u0301'
        text = "".join(self.random.choices(letters, k=self.random.randrange(0, 80)))
        ensure_ascii = self.random.random() < 0.5
        event = {"id": f"evt_{self.random.randrange(10**9)}", "object": "event", "text": text}
        return json.dumps(event, ensure_ascii=ensure_ascii).encode()

    def signed(self):
        body = self.body()
        return f"t={NOW},v1={signature(NOW, body)}", body


def what_the_sdk_signs(corpus):
    for _ in range(100):
        body = corpus.body()
        secret = "whsec_" + "".join(corpus.random.choices("abcXYZ019_", k=corpus.random.randrange(1, 120)))
        if IS_ACACIA:
            signed = stripe.WebhookSignature._compute_signature(f"{NOW}.{body.decode()}", secret)
            header = f"t={NOW},v1={signed}"
        else:
            header = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, NOW)
        corpus.add("signed by the SDK", header, body, secret)


def times(corpus):
    for tolerance in (1, 60, TOLERANCE_S, 86_400):
        for away in (-tolerance - 1, -tolerance, 1 - tolerance, 0, tolerance, tolerance + 1):
            body = corpus.body()
            time = NOW + away
            stricter = FUTURE if away > tolerance else None
            header = f"t={time},v1={signature(time, body)}"
            corpus.add("time edges", header, body, tolerance=tolerance, stricter=stricter)
    for time in (0, -1, 1, NOW * 1000, 2**63 - 1, 2**63, 10**30, -(10**30)):
        body = corpus.body()
        stricter = FUTURE if time > NOW + TOLERANCE_S else None
        corpus.add("far times", f"t={time},v1={signature(time, body)}", body, stricter=stricter)
    spellings = [
        (f"+{NOW}", None), (f"00{NOW}", None), (f" {NOW}", ODD_TIME), (f"{NOW} ", ODD_TIME),
        ("1_769_860_800", ODD_TIME), ("１７６９８６０８００", ODD_TIME), (f"{NOW}.0", None),
        ("1769860800e0", None), (hex(NOW), None), ("", None), ("now", None), ("-", None),
    ]  # fmt: skip
    for spelling, stricter in spellings:
        body = corpus.body()
        # The SDK signs the number; another may sign what is written.
        corpus.add("spelled times", f"t={spelling},v1={signature(NOW, body)}", body, stricter=stricter)
        if spelling:
            corpus.add("spelled times", f"t={spelling},v1={signature(spelling, body)}", body)


def several_signatures(corpus):
    other = "whsec_the_one_that_is_rolled"
    for _ in range(40):
        body = corpus.body()
        good, old = signature(NOW, body), signature(NOW, body, other)
        junk = "".join(corpus.random.choices("0123456789abcdef", k=64))
        pairs = [f"v1={good}", f"v1={old}", f"v1={junk}", f"v0={junk}", f"v2={good}", "v1=", "x=y", "", "v9"]
        chosen = corpus.random.sample(pairs, corpus.random.randrange(1, len(pairs)))
        chosen.insert(corpus.random.randrange(len(chosen) + 1), f"t={NOW}")
        corpus.add("several signatures", ",".join(chosen), body, corpus.random.choice([SECRET, other]))
    header, body = corpus.signed()
    good = signature(NOW, body)
    corpus.add("v0 only", f"t={NOW},v0={good}", body)
    corpus.add("v1 twice", f"{header},v1={good}", body)
    corpus.add("two times, good first", f"t={NOW},t={NOW - 9999},v1={good}", body)
    corpus.add("two times, good last", f"t={NOW - 9999},t={NOW},v1={good}", body)
    corpus.add("fifty junk signatures", f"t={NOW}," + "v1=00," * 50 + f"v1={good}", body)
    corpus.add("a header of kilobytes", f"{header}," + "v0=" + "0" * 5000, body, stricter=TOO_LONG)


def altered(corpus):
    for _ in range(150):
        header, body = corpus.signed()
        change = corpus.random.choice(
            ["body bit", "body end", "body cut", "header byte", "header cut", "header end"]
        )
        target = bytearray(body if change.startswith("body") else header.encode())
        place = corpus.random.randrange(len(target))
        if change.endswith("end"):
            target += corpus.random.choice([b" ", b"\n", b"0", b",", b"=", b"}", b";", b"\t"])
        elif change.endswith("cut"):
            target = target[:place]
        elif change == "body bit":
            target[place] ^= 1
        else:
            target[place] = corpus.random.choice(b"0123456789abcdefgt=,v .;AF_")
        if change.startswith("body"):
            corpus.add(change, header, bytes(target))
        else:
            is_odd = any(pair.count("=") > 1 for pair in target.decode().split(","))
            corpus.add(change, target.decode(), body, stricter=ODD_PAIR if is_odd else None)


def secrets(corpus):
    for secret in (
        SECRET + "x",
        SECRET[:-1],
        SECRET.upper(),
        SECRET[6:],
        " " + SECRET,
        SECRET + "\n",
        "whsec_",
    ):
        header, body = corpus.signed()
        corpus.add("wrong secret", header, body, secret)
    for secret in ("", " ", "\t\r\n\f\v"):
        body = corpus.body()
        # The older SDK takes an empty secret at its word.
        corpus.add(
            "no secret", f"t={NOW},v1={signature(NOW, body, secret)}", body, secret, stricter=NO_SECRET
        )
    for secret in ("pässwörd", "秘密", "🔑", "x" * 64, "x" * 65, "x" * 500, "with,comma=and space"):
        body = corpus.body()
        corpus.add("any secret", f"t={NOW},v1={signature(NOW, body, secret)}", body, secret)


def spaces_and_case(corpus):
    for form in (
        "t={t}, v1={s}", " t={t},v1={s}", "t={t},v1={s} ", "t ={t},v1={s}", "t= {t},v1={s}", "t={t},v1 ={s}",
        "t={t},v1= {s}", "t={t}\t,v1={s}", "T={t},v1={s}", "t={t},V1={s}", "t={t};v1={s}", "t:{t},v1:{s}",
        "v1={s},t={t}", ",t={t},,v1={s},", "t={t},v1={S}", "t={t},v1=0x{s}", 't="{t}",v1="{s}"', "t={t},v1={s},v1",
        "t={t},v1,v1={s}", "t,t={t},v1={s}", "t={t},t,v1={s}", "t={t},v1={s}=", "t={t},v1={s}=x", "t={t}=1,v1={s}",
        "t={t}", "v1={s}", "{s}", "t={t},{s}", "t={t}v1={s}", "t={t},v1={s}{s}", "t={t},v1=é,v1={s}", "t={t},v1={s},v1=é",
        "t={t},é=1,v1={s}", "", " ", ",", "=", "t=,v1=", "null",
    ):  # fmt: skip
        body = corpus.body()
        good = signature(NOW, body)
        stricter = {"t= {t},v1={s}": ODD_TIME, "t={t}\t,v1={s}": ODD_TIME}.get(form)
        if form in ("t={t},v1={s}=", "t={t},v1={s}=x", "t={t}=1,v1={s}"):
            stricter = ODD_PAIR
        if "é" in form:
            stricter = NOT_ASCII
        corpus.add("form", form.format(t=NOW, s=good, S=good.upper()), body, stricter=stricter)


def bodies(corpus):
    raw = [
        b"", b" ", b"{}", b"null", b"\x00", "é".encode(), "漢字🚀".encode(), "e\u0301".encode(), b"\xef\xbb\xbf{}",
        b"line\r\nline\n", b"x" * 300_000, "\U0010ffff".encode(), b"%d.%s", b"{0}",
    ]  # fmt: skip
    for body in raw:
        corpus.add("bodies", f"t={NOW},v1={signature(NOW, body)}", body)
    for body in (b"\xff", b'{"a": "\xc3\x28"}', b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80", b"{}\x80"):
        corpus.add("not UTF-8", f"t={NOW},v1={signature(NOW, body)}", body)


@pytest.fixture(scope="module")
def corpus():
    corpus = Corpus()
    for part in (
        what_the_sdk_signs, times, several_signatures, altered, secrets, spaces_and_case, bodies,
    ):  # fmt: skip
        part(corpus)
    return corpus.cases


def sdk_believes(case, monkeypatch):
    """The SDK's verdict, at the case's moment."""
    monkeypatch.setattr("time.time", lambda: case.now)
    try:
        stripe.WebhookSignature.verify_header(case.body.decode(), case.header, case.secret, case.tolerance)
    except (stripe.SignatureVerificationError, UnicodeError, TypeError):
        # A body that is not UTF-8, or a signature that is not ASCII, ends in another exception.
        return False
    return True


def we_believe(cases):
    asked = [
        {
            "header": case.header,
            "body_hex": case.body.hex(),
            "secret": case.secret,
            "now_unix_s": case.now,
            "tolerance_s": case.tolerance,
        }
        for case in cases
    ]
    judge = subprocess.run(
        [PROGRAMS / "webhook-judge"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(judge.stdout)


def test_our_check_is_the_sdks(corpus, monkeypatch):
    theirs = [sdk_believes(case, monkeypatch) for case in corpus]
    monkeypatch.undo()
    wrong = []
    for case, theirs_says, ours_says in zip(corpus, theirs, we_believe(corpus), strict=True):
        is_stricter = theirs_says and not ours_says and case.stricter
        if ours_says != theirs_says and not is_stricter:
            wrong.append((case.kind, case.header[:120], case.secret[:40], theirs_says, ours_says))
    assert not wrong, "\n".join([f"SEED={SEED}", *map(str, wrong)])


def test_the_corpus_is_worth_its_name(corpus, monkeypatch):
    """Hundreds of cases, believed and not, of every kind."""
    believed = [sdk_believes(case, monkeypatch) for case in corpus]
    monkeypatch.undo()
    assert len(corpus) >= 400
    assert min(Counter(believed).values()) >= 100
    assert len({case.kind for case in corpus}) >= 15
