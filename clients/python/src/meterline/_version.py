"""The version, for the package and for ``User-Agent``."""

VERSION = "0.1.0"
