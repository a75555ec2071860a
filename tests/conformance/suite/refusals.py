"""Tables of calls that are refused, and what is looked at in each."""

import pytest
import stripe


class Refusals:
    """A table of calls, as the parameters of a test."""

    NAMES = ("call", "raises", "status", "code", "param")

    def __init__(self):
        self.cases = []

    def add(self, call, raises, status, code=None, param=None, only=None):
        """A call that is refused so; `call` takes the world that its test sets up."""
        marks = [getattr(pytest.mark, only)] if only else []
        name = f"{status}-{code}-{param}"
        self.cases.append(pytest.param(call, raises, status, code, param, id=name, marks=marks))

    def test(self):
        return pytest.mark.parametrize(self.NAMES, self.cases)


def check(world, call, raises, status, code, param):
    with pytest.raises(stripe.StripeError) as refused:
        call(world)
    error = refused.value
    assert type(error) is raises, error
    assert error.http_status == status, error
    body = error.json_body["error"]
    assert (body.get("code"), body.get("param")) == (code, param), error
    assert error.user_message
    # A request that was refused before it was read has an id too.
    assert error.headers["request-id"].startswith("req_")
    assert body["type"]
