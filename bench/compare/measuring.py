# SPDX-License-Identifier: MIT
"""What comparisons have alike: processes that answer in JSON, the probe of the machine, facts of a file, a picture."""
import json
import math
import subprocess

from environment import note


def answer_of(command, limit):
    """The JSON that a process prints as its last line or as all it prints, or {"why"}."""
    try:
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=limit)
        lines = done.stdout.strip().splitlines()
        if done.returncode == 0 and lines:
            try:
                return json.loads(lines[-1])
            except ValueError:
                return json.loads(done.stdout)
        note(done.stderr.strip()[-2000:])
        return {"why": f"ended with {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1][:120]}"}
    except subprocess.TimeoutExpired:
        return {"why": f"took more than {limit} s"}


def probe(skald, threads):
    """What bench_probe beside skald's program finds for each number of threads: [{"threads", "read_gb_s", "int8_gops"}]."""
    program = skald.parent / "bench_probe"
    if not program.is_file():
        note(f"{program} is not there: shares of the roof are left out (build the target bench_probe)")
        return []
    done = subprocess.run([program, *map(str, threads)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def facts(skald, model):
    """What the GGUF file says of the matrices a decoded token reads: the head, and the embedding only where it is the head."""
    done = subprocess.run([skald, "inspect", model, "--json"], capture_output=True, check=True)
    tensors = json.loads(done.stdout)["tensors"]
    matrices = [t for t in tensors if len(t["shape"]) >= 2]
    tied = not any(t["name"] == "output.weight" for t in tensors)
    read = [t for t in matrices if tied or t["name"] != "token_embd.weight"]
    layers = [t for t in matrices if t["name"] not in ("token_embd.weight", "output.weight")]
    return {"weight_bytes": sum(t["bytes"] for t in read), "matrix_parameters": sum(math.prod(t["shape"]) for t in layers)}


def draw(environment, folder, module, raw, picture, install):
    """Calls module.picture(what the file `raw` holds, the PNG's path) with the environment's Python, which may have matplotlib alone."""
    code = f"import sys, json; sys.path[:0] = [{str(folder)!r}]; import {module} as m; m.picture(json.load(open({str(raw)!r})), {str(picture)!r})"
    if environment.has("plot") or install and not environment.install("plot"):
        subprocess.run([environment.python, "-c", code], check=True)
