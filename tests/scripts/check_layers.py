#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks what include/skald/ may include: layers point down only, and some headers stay in their place.

usage: check_layers.py INCLUDE_FOLDER    prints every offence; exit status 1 if there is one
"""
import pathlib
import re
import sys

# From the bottom up; folders of one line may include each other.
LAYERS = [
    ["core"],
    ["format"],
    ["backend"],
    ["io", "text"],
    ["attention", "kv"],
    ["grammar"],
    ["model"],
    ["speculative", "sampling"],
    ["pipeline", "serving"],
    ["quantize"],
]
RANK = {folder: rank for rank, line in enumerate(LAYERS) for folder in line}

# (what is included, folders or files that may)
CONFINED = [
    (r"xsimd/.*|\w*intrin\.h", ["backend/cpu/"]),
    (r"cuda.*|cublas.*|cutlass/.*", ["backend/cuda/"]),
    (r"thread|condition_variable", ["backend/", "core/thread_pool.hpp", "core/concurrency.hpp"]),
    (r"iostream|cassert|assert\.h|print", []),
    (r"nlohmann/.*|Eigen/.*", ["io/", "text/", "backend/", "quantize/", "model/", "grammar/"]),
    (r"format|expected|mdspan|ranges", []),
]

INCLUDE = re.compile(r"^\s*#\s*include\s*[<\"]([^>\"]+)[>\"]", re.M)


def offences(root):
    for path in sorted(root.rglob("*.hpp")):
        name = path.relative_to(root).as_posix()
        folder = name.split("/")[0] if "/" in name else None
        if folder is not None and folder not in RANK:
            yield f"{name}: the folder {folder} is no layer that this script knows"
            continue
        for included in INCLUDE.findall(path.read_text()):
            if included.startswith("skald/"):
                other = included.split("/")[1]
                if folder and other in RANK and RANK[other] > RANK[folder]:
                    yield f"{name}: includes <{included}>, a layer above {folder}"
                continue
            for pattern, allowed in CONFINED:
                if re.fullmatch(pattern, included) and not any(name.startswith(a) for a in allowed):
                    yield f"{name}: includes <{included}>, which belongs in {' or '.join(allowed) or 'no header'}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = list(offences(pathlib.Path(sys.argv[1]) / "skald"))
    print("\n".join(found) if found else "all includes point down")
    sys.exit(1 if found else 0)
