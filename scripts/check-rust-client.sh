#!/usr/bin/env bash
# Packages the Rust client, and builds a program of its own project with what is in the
# package alone: the quick start, as the README has it.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
package=meterline-client
# Its build is the program's, below.
cargo package --quiet --locked --allow-dirty --no-verify -p "$package"
crate=$(ls -t "$target/package/$package"-*.crate | head -n 1)

project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT
tar --extract --gzip --file "$crate" --directory "$project" --strip-components 1 --one-top-level=client
for file in README.md Cargo.toml src/lib.rs; do
    [ -f "$project/client/$file" ] || { echo "$crate has no $file" >&2; exit 1; }
done
mkdir -p "$project/program/src"
cp clients/rust/examples/quick_start.rs "$project/program/src/main.rs"
cat >"$project/program/Cargo.toml" <<'TOML'
[package]
name = "program"
edition = "2024"

[dependencies]
meterline-client = { path = "../client" }
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }

[workspace]
TOML
# The versions that everything else here is built with.
cp Cargo.lock "$project/program/Cargo.lock"
CARGO_TARGET_DIR=$target/package/built cargo build --quiet --manifest-path "$project/program/Cargo.toml"
echo "$crate"
