# SPDX-License-Identifier: MIT
"""What caches of keys and values cost and gain: memory, perplexity, retrieval, and speed against length, beside llama.cpp's.

    python bench/kv/kv.py MODEL.gguf... [--kv paged:f16,paged:q8,...] [--llama f16,q8_0,q4_0] [--parts perplexity,needle,speed,plain]

Without options a run of some minutes a model; --full is long. Caches are those that `skald kv-list` tells; in every round each runs in a
process of its own, in an order that turns round, beside a probe of the machine. A cache that cannot run has that said in its cells.
Writes OUT.md, OUT.png and OUT.json, the raw figures; --append adds rounds, parts, models or caches to those of an earlier run, and
keeps perplexities and needles that
these have, and with no model only draws them again. `--self-test` tries the script on a tiny model in seconds. What is measured: README.md beside this file.
"""
import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent / "compare")]

import kv_report  # noqa: E402
import measuring  # noqa: E402
import texts  # noqa: E402
from environment import Environment, note  # noqa: E402

PARTS = ["perplexity", "needle", "speed", "plain"]
LLAMA = "llama.cpp "  # before the names of its caches
FULL = {"rounds": 3, "text_bytes": 120_000, "needle": [1024, 2048, 4096, 8000], "trials": 5, "depth": [1024, 4096, 16384, 32768],
        "decode": 64, "limit": 3600}


def some_of(caches):
    """Of all caches every storage with f16 (with all it takes where that is none), and the default's storage with every codec."""
    storages = {}
    for name in caches:
        storages.setdefault(name.split(":")[0], []).append(name)
    usual = next(iter(s for s in storages if s.startswith("paged")), None)
    chosen = []
    for storage, names in storages.items():
        plain = [n for n in names if n.endswith(":f16")]
        chosen += names if storage == usual or not plain else plain
    return chosen


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder = args, Path(folder)
        self.environment = Environment(args.venv)
        self.raw = {"date": str(datetime.date.today()), "load": os.getloadavg()[0], "rounds": 0, "absent": {}, "models": {}, "probes": [],
                    "results": []}
        if args.append and args.out.with_suffix(".json").is_file():
            self.raw = json.loads(args.out.with_suffix(".json").read_text())
        self.before = self.raw["rounds"]
        self.text = args.text.read_text(errors="replace") if args.text else texts.default_text()
        self.raw["text"] = args.text.name if args.text else texts.default_name()
        self.scored = self.folder / "scored.txt"
        self.scored.write_text(self.text[:args.text_bytes])

    def skald(self, *command):
        return measuring.answer_of([self.args.skald, *command], self.args.limit)

    def llama_cpp(self, model, cache, **job):
        job |= {"model": str(model), "cache": cache.removeprefix(LLAMA), "threads": self.args.threads}
        found = measuring.answer_of([self.environment.python, HERE / "llama_cpp_cache.py", json.dumps(job)], self.args.limit)
        if "bytes_per_token" in found:
            self.add(model, cache, "size", {"bytes_per_token": found["bytes_per_token"]})
        return found

    def add(self, model, cache, test, found, **row):
        """A result, or why there is none; what is measured once replaces what was found before."""
        if "why" in found:
            found = {"why": found["why"]}
        if test in ("size", "perplexity") or test.startswith("needle"):
            self.raw["results"] = [r for r in self.raw["results"] if (r["model"], r["cache"], r["test"]) != (model.stem, cache, test)]
        self.raw["results"].append({"round": self.number, "model": model.stem, "cache": cache, "test": test, **row, **found})

    def caches(self, model):
        """The caches to measure by the names that kv-list gives them, the base first; their sizes are noted."""
        a = self.args
        words = a.kv if a.kv and a.kv != ["all"] else None
        listed = self.skald("kv-list", model, "--ctx", a.context, "--json", *(f"--kv={w}" for w in words or []))
        base = self.skald("kv-list", model, "--ctx", a.context, "--json", f"--kv={a.base}")
        for found in (listed, base):
            if "why" in found:
                raise SystemExit(f"{model}: {found['why']}")
        base_name = base[0]["kv"]
        sizes = {row["kv"]: row for row in base + listed}
        chosen = list(sizes) if a.kv else some_of(sizes)
        chosen = [base_name] + [name for name in chosen if name != base_name]
        for name in chosen:
            self.add(model, name, "size", {k: v for k, v in sizes[name].items() if k != "kv"})
        self.raw["base"] = base_name
        llama = [LLAMA + kind for kind in a.llama]
        if llama:
            why = None if self.environment.has("llama.cpp") else "is not installed" if a.no_install else \
                self.environment.install("llama.cpp")
            if why:
                self.raw["absent"]["llama.cpp"] = why
                llama = []
        self.raw["order"] = list(dict.fromkeys([*self.raw.get("order", []), *chosen, *llama]))
        self.raw.setdefault("llama_base", next(iter(llama), None))
        return chosen + llama

    def known(self, model, cache, test):
        """Whether an earlier run has that figure: it would be the same."""
        return any("why" not in r for r in self.raw["results"] if (r["model"], r["cache"], r["test"]) == (model.stem, cache, test))

    def perplexity(self, model, caches):
        a = self.args
        for cache in caches:
            if self.known(model, cache, "perplexity"):
                continue
            if cache.startswith(LLAMA):
                found = self.llama_cpp(model, cache, text=str(self.scored), window=a.window)
                row = {"why": found["why"]} if "why" in found else {"perplexity": found["perplexity"]}
            else:
                row = self.skald("perplexity", model, "-f", self.scored, "--kv", cache, "--ctx", a.window, "-t", a.threads, "--json",
                                 *(["--reference", model] if a.kl else []))
            self.add(model, cache, "perplexity", row, window=a.window)
            note(f"{model.name}  {cache}  perplexity")

    def needle(self, model, caches):
        """Asks every cache the same; a llama.cpp process loads its model once for all."""
        a = self.args
        sample = self.text[:40_000]
        done = subprocess.run([a.skald, "tokenize", model], input=sample, capture_output=True, text=True, check=True)
        characters = len(sample) / len(done.stdout.split())  # a token
        told = self.skald("inspect", model, "--json")["hyperparameters"]
        most = next((told[k] for k in ("context_length", "max_position_embeddings") if k in told), max(a.needle, default=0))
        lengths = [n for n in a.needle if n <= most]
        if lengths != a.needle:
            note(f"{model.name} was made for {most} tokens: longer texts with needles are left out")
        asked = [(length, depth, trial) for length in lengths for depth in a.needle_depths for trial in range(a.trials)]
        needles = [texts.needle(self.text, int(max(length - 50, 1) * characters), depth, trial) for length, depth, trial in asked]
        listed = self.folder / "needles.json"
        listed.write_text(json.dumps(needles))
        for cache in caches:
            if all(self.known(model, cache, f"needle {n} @{d}") for n, d, _ in asked):
                continue
            if cache.startswith(LLAMA):
                found = self.llama_cpp(model, cache, needles=str(listed))
                scores = [found] * len(asked) if "why" in found else found["scores"]
            else:
                scores = []
                for prompt, answer in needles:
                    found = self.skald("score", model, "-p", prompt, "-c", answer, "--kv", cache, "-t", a.threads, "--json")
                    scores.append(found if "why" in found else found[0])
                    if "why" in found:  # what cannot run need not be tried again
                        scores += [found] * (len(asked) - len(scores))
                        break
            for length in lengths:
                for depth in a.needle_depths:
                    here = [s for s, (n, d, _) in zip(scores, asked) if (n, d) == (length, depth)]
                    row = next((s for s in here if "why" in s), None) or \
                        {"trials": len(here), "found": sum(s["greedy"] for s in here), "logprob": sum(s["logprob"] for s in here) / len(here)}
                    self.add(model, cache, f"needle {length} @{depth}", row, length=length, depth=depth)
            note(f"{model.name}  {cache}  needles")

    def speed(self, model, caches):
        a = self.args
        for cache in caches:
            if cache.startswith(LLAMA):
                found = self.llama_cpp(model, cache, depths=a.depth, decode=a.decode)
                rows = found.get("speed", [])
            else:
                found = self.skald("bench", model, "--kv", cache, "-p", 0, "-n", a.decode, "--depth", ",".join(map(str, a.depth)), "-r", 1,
                                   "-t", a.threads, "--json")
                rows = [] if "why" in found else [{"depth": d, "prompt_tok_s": r["depth_tok_s"], "decode_tok_s": r["tok_s"],
                                                   "read_gb_s": r["read_gb_s"]} for d, r in zip(a.depth, found)]
            for row in rows:
                self.add(model, cache, "speed", row)
            if not rows:
                self.add(model, cache, "speed", {"why": found.get("why", "")})
            note(f"round {self.number}  {model.name}  {cache}  speed")

    def plain(self, model, caches):
        """The base cache alone: with and without it, and sequences together."""
        a, cache = self.args, caches[0]
        common = ["bench", model, "--kv", cache, "-p", 0, "-r", 1, "-t", a.threads, "--json"]
        for test, more in (("cached", []), ("no-cache", ["--no-cache"])):
            found = self.skald(*common, "-n", 4, "--depth", ",".join(map(str, a.lengths)), *more)
            for length, row in zip(a.lengths, [found] * len(a.lengths) if "why" in found else found):
                self.add(model, cache, test, row | {"test": test}, length=length)
        found = self.skald(*common, "-n", a.decode, "--depth", a.batch_depth, "--sequences", ",".join(map(str, a.batch)))
        for sequences, row in zip(a.batch, [found] * len(a.batch) if "why" in found else found):
            self.add(model, cache, "batch", row | {"test": "batch"}, sequences=sequences, depth=a.batch_depth)
        note(f"round {self.number}  {model.name}  {cache}  plain figures")

    def measure(self):
        """Perplexity and needles say the same every time: once. Speed in rounds."""
        a = self.args
        self.number = self.before + 1
        caches = {model: self.caches(model) for model in a.models}
        for model in a.models:
            self.raw["models"][model.stem] = measuring.facts(a.skald, model)
            for part in ("perplexity", "needle"):
                if part in a.parts:
                    getattr(self, part)(model, caches[model])
        for _ in range(a.rounds if a.models and {"speed", "plain"} & set(a.parts) else 0):
            self.raw["probes"] += [{"round": self.number, **row} for row in measuring.probe(a.skald, [a.threads])]
            for model in a.models:
                if "speed" in a.parts:
                    self.speed(model, caches[model] if self.number % 2 else caches[model][::-1])
                if "plain" in a.parts:
                    self.plain(model, caches[model])
            self.raw["rounds"] = self.number
            self.number += 1

    def write(self):
        out = self.args.out
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_suffix(".json").write_text(json.dumps(self.raw, indent=1) + "\n")
        text = kv_report.markdown(self.raw)
        out.with_suffix(".md").write_text(text)
        print(text)
        measuring.draw(self.environment, HERE, "kv_report", out.with_suffix(".json"), out.with_suffix(".png"), not self.args.no_install)


def self_test(args, folder):
    """A tiny model, every part, two rounds: each cache must have given its figures, and the tables must have them."""
    args.models, args.kv, args.llama, args.no_install = [ROOT / "tests/data/tiny-llama.gguf"], ["paged/8:f16", "contiguous:q8"], [], True
    args.base, args.text, args.text_bytes, args.window = "paged/8:f16", None, 2000, 64
    args.needle, args.needle_depths, args.trials, args.depth, args.decode = [150], [10, 90], 2, [32, 64], 4
    args.lengths, args.batch, args.batch_depth, args.rounds, args.parts = [8, 32], [1, 3], 16, 2, PARTS
    bench = Bench(args, folder)
    bench.measure()
    bench.write()
    rows = bench.raw["results"]
    wanted = 2 * (1 + 1 + 2 + 2 * 2) + 2 * (2 + 2 + 2)
    if any("why" in r for r in rows) or len(rows) != wanted:
        raise SystemExit(f"self-test: of {wanted} results {len(rows)} came, and these without a figure: {[r for r in rows if 'why' in r]}")


def numbers(text):
    return [int(n) for n in text.split(",") if n != "0"]


def words(text):
    return [w for w in text.split(",") if w]


def caches(text):
    """Names with commas between, of which some have commas themselves: what has no colon goes on with the name before it."""
    names = []
    for word in words(text):
        if names and ":" not in word:
            names[-1] += "," + word
        else:
            names.append(word)
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, help="GGUF files")
    parser.add_argument("--kv", type=caches, default=[], help="caches as --kv takes them, or all (default: storages with f16, paged with all)")
    parser.add_argument("--base", default="paged:f16", help="the cache that others are compared with")
    parser.add_argument("--llama", type=words, default=["f16", "q8_0", "q4_0"], help="llama.cpp's caches beside; '' for none")
    parser.add_argument("--parts", type=words, default=PARTS, help=f"of {', '.join(PARTS)}")
    parser.add_argument("--full", action="store_true", help="what an hour a model is for: " + "; ".join(f"{k} {v}" for k, v in FULL.items()))
    parser.add_argument("-k", "--rounds", type=int, default=1, help="of the speed tests")
    parser.add_argument("-t", "--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--text", type=Path, help="real text, 100 KB at least (default: the documentation that Python carries)")
    parser.add_argument("--text-bytes", type=int, default=20_000, help="characters of it that perplexity is measured on")
    parser.add_argument("--window", type=int, default=512, help="tokens of a window of the perplexity test")
    parser.add_argument("--kl", action="store_true", help="the divergence from an f32 cache, too; twice the time")
    parser.add_argument("--context", type=int, default=4096, help="tokens that memory is told for")
    parser.add_argument("--needle", type=numbers, default=[1024], help="tokens of the texts that a number is hidden in")
    parser.add_argument("--needle-depths", type=numbers, default=[10, 50, 90], help="where, in percent")
    parser.add_argument("--trials", type=int, default=2, help="of every length and depth")
    parser.add_argument("--depth", type=numbers, default=[1024, 4096], help="tokens of the prompts, and before those decoded")
    parser.add_argument("--decode", type=int, default=32, help="tokens decoded after each")
    parser.add_argument("--lengths", type=numbers, default=[16, 64, 256, 512, 1024, 2048], help="of texts with and without a cache")
    parser.add_argument("--batch", type=numbers, default=[1, 2, 4, 8, 16, 32], help="sequences decoded together")
    parser.add_argument("--batch-depth", type=int, default=128, help="tokens that each of them holds before")
    parser.add_argument("--out", type=Path, default=Path("kv"), help="OUT.md, OUT.png and OUT.json")
    parser.add_argument("--append", action="store_true", help="add to what OUT.json holds")
    parser.add_argument("--skald", type=Path, default=ROOT / "build/release/bin/skald", help="skald's program; bench_probe lies beside it")
    parser.add_argument("--venv", type=Path, default=ROOT / "build/compare-venv", help="the environment of bench/compare")
    parser.add_argument("--no-install", action="store_true", help="leave out what the environment does not have")
    parser.add_argument("--limit", type=int, default=600, help="seconds a process may take")
    parser.add_argument("--self-test", action="store_true")
    if "--full" in sys.argv:
        parser.set_defaults(**FULL)
    args = parser.parse_args()
    args.skald = args.skald.resolve()
    args.models = [m.resolve() for m in args.models]
    for what, there in ((args.skald, args.skald.is_file()), *((m, m.is_file()) for m in args.models)):
        if not there:
            raise SystemExit(f"{what} is not a file")
    for part in args.parts:
        if part not in PARTS:
            raise SystemExit(f"--parts: {part} is none of {', '.join(PARTS)}")
    if not (args.models or args.append or args.self_test):
        raise SystemExit("no model is given")
    if os.getloadavg()[0] > 0.5:
        note(f"the load of this machine is {os.getloadavg()[0]:.1f}; speeds are worth something on a quiet one only")
    with tempfile.TemporaryDirectory() as folder:
        if args.self_test:
            return self_test(args, folder)
        bench = Bench(args, folder)
        bench.measure()
        bench.write()


if __name__ == "__main__":
    main()
