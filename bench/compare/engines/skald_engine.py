# SPDX-License-Identifier: MIT
"""skald, by its program: `skald bench` and `skald perplexity`."""
import json
import subprocess
import sys

from engine import answer


def call(job, *command):
    done = subprocess.run([job["skald"], *(str(c) for c in command)], capture_output=True, text=True)
    if done.returncode != 0:
        return None, done.stderr.strip()[-300:]
    return json.loads(done.stdout), None


def main(job):
    if job["do"] == "prepare":
        return {"path": job["model"]}
    model, threads = job["path"], job["threads"]
    results = []
    alone = job["decode"] if 1 in job["sequences"] else 0
    calls = [(job["prompt"], alone, ",".join(map(str, job["depths"])), 1)]
    calls += [(0, job["decode"], 0, s) for s in job["sequences"] if s > 1]
    for prompt, decode, depths, sequences in calls:
        if prompt or decode:
            rows, why = call(job, "bench", model, "-p", prompt, "-n", decode, "-t", threads, "-r", 1, "--depth", depths, "--sequences",
                             sequences, "--json")
            results += rows if rows else [{"test": "bench", "why": why}]
    if job.get("text"):
        value, why = call(job, "perplexity", model, "-f", job["text"], "-t", threads, "--json")
        results.append({"test": "perplexity", **({"value": value["perplexity"]} if value else {"why": why})})
    return {"results": results}


if __name__ == "__main__":
    answer(main(json.loads(sys.argv[1])))
