"""The version of this package: hosts of one cluster agree in its first two numbers."""

VERSION = "0.1.0"
