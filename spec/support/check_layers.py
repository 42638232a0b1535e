#!/usr/bin/env python3
"""Checks that a folder of src/ includes only folders above it in the layer table of docs/architecture.md.

Prints one line per include that points up, and exits 1 if there was one.
"""
import pathlib
import re
import sys

LAYERS = "base codec loop net tls quic http tunnel route proxy script app".split()
ONLY = {"codec": {"base"}, "route": {"base"}}  # these know less than their place would allow
INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([a-z0-9_]+)/([^">]+)[">]', re.M)


def allowed(layer):
    return ONLY.get(layer, set(LAYERS[: LAYERS.index(layer)])) | {layer}


def problems(src):
    for file in sorted([*src.rglob("*.c"), *src.rglob("*.h")]):
        layer = file.relative_to(src).parts[0]
        if layer not in LAYERS:
            yield f"{file}: {layer} is not a layer"
            continue
        text = file.read_text(errors="replace")
        for match in INCLUDE.finditer(text):
            other = match[1]
            if other in LAYERS and other not in allowed(layer):
                line = text.count("\n", 0, match.start(1)) + 1
                yield f"{file}:{line}: {layer} must not include {other}/{match[2]}"


def main():
    src = pathlib.Path(__file__).resolve().parents[2] / "src"
    found = list(problems(src))
    print("\n".join(found))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
