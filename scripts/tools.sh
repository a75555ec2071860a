#!/usr/bin/env bash
# Installs what is missing of the tools around the code; run again, it does nothing.
#
#   scripts/tools.sh lambda   cargo-lambda, sam and cfn-lint from PyPI, into .venv
#   scripts/tools.sh template checkov from PyPI, into target/checkov
#   scripts/tools.sh ministack
#                             an AWS for this machine from PyPI, into target/ministack
#   scripts/tools.sh lint     cargo-deny and cargo-machete from crates.io, into target/tools
#   scripts/tools.sh browser  chromium, nodejs and npm from Debian, and two packages from npm into
#                             tests/browser/node_modules
#   scripts/tools.sh api      schemathesis from PyPI, into target/conformance/api
#   scripts/tools.sh terminal a terminal emulator from PyPI, into target/conformance/terminal
#   scripts/tools.sh clients  what the clients' tests and checks need: from PyPI, into target/conformance/clients,
#                             and from npm, into clients/typescript and examples/typescript
#   scripts/tools.sh conformance
#                             two releases of Stripe's SDK from PyPI, into target/conformance
#
# Running and testing Meterline needs none of them.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo_deny=0.20.2
cargo_machete=0.9.2

# environment, requirements file.
install_python_packages() {
    local installed=$1/meterline-requirements.txt
    if cmp -s "$2" "$installed"; then return; fi
    # Some distributions ship Python without ensurepip, so pip works from outside.
    [ -x "$1/bin/python" ] || python3 -m venv --without-pip "$1"
    python3 -m pip --python "$1/bin/python" install --quiet --disable-pip-version-check \
        --requirement "$2"
    cp "$2" "$installed"
}

# A folder with a package-lock.json.
install_node_packages() {
    local installed=$1/node_modules/meterline-package-lock.json
    if cmp -s "$1/package-lock.json" "$installed"; then return; fi
    npm --prefix "$1" ci --silent --no-audit --no-fund
    cp "$1/package-lock.json" "$installed"
}

# crate, version. Little optimised: they run for seconds and would build for minutes.
install_lint_tool() {
    local version
    version=$("$1" --version 2>/dev/null || true)
    if [[ $version == *"$2" ]]; then return; fi
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
    CARGO_PROFILE_RELEASE_LTO=false \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --locked --quiet --force --root target/tools --version "$2" "$1"
}

# Debian's own Chromium and node: the browsers that Playwright would load are no packages
# of any distribution. As root; others are told what to install.
install_browser() {
    local missing=() program
    for program in "${CHROMIUM:-chromium}" node npm; do
        command -v "$program" >/dev/null || missing+=("${program/#node/nodejs}")
    done
    if [ "${#missing[@]}" -gt 0 ]; then
        if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
            echo "make browser-test needs: ${missing[*]}" >&2
            return 1
        fi
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    fi
    local installed=tests/browser/node_modules/meterline-package-lock.json
    if cmp -s tests/browser/package-lock.json "$installed"; then return; fi
    npm ci --prefix tests/browser --ignore-scripts --no-audit --no-fund --silent
    cp tests/browser/package-lock.json "$installed"
}

# The Python that has pip is the machine's, not the one that is set up here.
PATH=$PWD/target/tools/bin:${PATH//"$PWD/.venv/bin:"/}
case ${1-} in
    lambda) install_python_packages .venv scripts/requirements.txt ;;
    ministack) install_python_packages target/ministack scripts/requirements-ministack.txt ;;
    template) install_python_packages target/checkov scripts/requirements-checkov.txt ;;
    browser) install_browser ;;
    terminal) install_python_packages target/conformance/terminal tests/terminal/requirements.txt ;;
    api) install_python_packages target/conformance/api tests/api/requirements.txt ;;
    clients)
        install_python_packages target/conformance/clients tests/clients/requirements.txt
        install_node_packages clients/typescript
        install_node_packages examples/typescript
        ;;
    conformance)
        for sdk in newest acacia; do
            install_python_packages "target/conformance/$sdk" "tests/conformance/requirements-$sdk.txt"
        done
        ;;
    lint)
        install_lint_tool cargo-deny "$cargo_deny"
        install_lint_tool cargo-machete "$cargo_machete"
        ;;
    *)
        echo "usage: $0 lambda|template|ministack|lint|api|terminal|browser|clients|conformance" >&2
        exit 2
        ;;
esac
