#!/usr/bin/env bash
# Format, lints and types of the Python client, and its wheel in an empty environment.
set -euo pipefail
cd "$(dirname "$0")/.."

repository=$PWD
python=$PWD/target/conformance/clients/bin/python
build=$PWD/target/python-client
cd clients/python
examples=../../examples/python
"$python" -m ruff format --check --quiet --no-cache --config pyproject.toml . "$examples"
"$python" -m ruff check --quiet --no-cache --config pyproject.toml . "$examples"
"$python" -m mypy --cache-dir "$build/mypy"
"$python" -m mypy --cache-dir "$build/mypy" "$examples"

rm -rf "$build/dist" "$build/empty"
"$python" -m hatchling build -t wheel -d "$build/dist"
python3 -m venv --without-pip "$build/empty"
# Some distributions ship Python without ensurepip, so pip works from outside.
PATH=${PATH//"$repository/.venv/bin:"/} python3 -m pip --python "$build/empty/bin/python" install --quiet \
    --disable-pip-version-check "$build"/dist/*.whl
# From a folder that has no meterline in it.
(cd "$build/empty" && bin/python - <<'PYTHON'
import importlib.metadata
import importlib.resources

import meterline
from meterline.testing import FakeMeterline

fake = FakeMeterline()
assert fake.client().emit("cus_1", "read", job_id="a").status == "delivered"
assert fake.units("cus_1") == 1
assert importlib.metadata.version("meterline") == meterline.__version__
assert importlib.resources.files("meterline").joinpath("py.typed").is_file()
assert any("LICENSE" in str(path) for path in importlib.metadata.files("meterline") or [])
import meterline.llm  # The SDKs are optional.
PYTHON
)
