# SPDX-License-Identifier: MIT
"""skald and the engines people use on the same models, machine, threads and token counts: one table and one picture.

    python bench/compare/compare.py MODEL.gguf... [--engines skald,llama.cpp,openvino,ctranslate2,transformers] [--rounds 3]

Engines are installed in a virtual environment and models converted to their forms first, once. Then in every round, for every model
and number of threads, each engine runs in a process of its own, in an order that turns round with every round, beside a probe of the
machine's bandwidth and integer peak. An engine that is absent, crashes or takes too long has that said in its cells. Writes
OUT.md, OUT.png and OUT.json, the raw figures. `--self-test` runs skald alone on a tiny model in a few seconds, without network.
Needs nothing but Python. What is measured and how: README.md beside this file.
"""
import argparse
import datetime
import json
import os
import sys
from pathlib import Path

import measuring
import report
from environment import Environment, note

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ENGINES = {"skald": "skald_engine.py", "llama.cpp": "llama_cpp_engine.py", "openvino": "openvino_engine.py",
           "ctranslate2": "ctranslate2_engine.py", "transformers": "transformers_engine.py"}


class Comparison:
    def __init__(self, args):
        self.args = args
        self.environment = Environment(args.venv)
        self.raw = {"date": str(datetime.date.today()), "engines": args.engines, "rounds": args.rounds, "load": os.getloadavg()[0],
                    "absent": {}, "models": {}, "probes": [], "results": []}

    def call(self, engine, job, limit):
        """The answer of an engine's process, or {"why"}."""
        python = sys.executable if engine == "skald" else self.environment.python
        return measuring.answer_of([python, HERE / "engines" / ENGINES[engine], json.dumps(job)], limit)

    def job(self, model, do, **more):
        a = self.args
        return {"do": do, "model": str(model), "forms": str(a.forms), "skald": str(a.skald), "prompt": a.prompt, "decode": a.decode,
                "depths": a.depth, "sequences": a.batch, **more}

    def prepare(self):
        """{engine: {model: its form's path}}; what cannot be prepared is noted and left out."""
        paths = {}
        self.raw["models"] = {model.stem: measuring.facts(self.args.skald, model) for model in self.args.models}
        for engine in self.args.engines:
            why = None if self.args.no_install and self.environment.has(engine) else \
                "is not installed" if self.args.no_install else self.environment.install(engine)
            if why:
                self.raw["absent"][engine] = why
                continue
            for model in self.args.models:
                got = self.call(engine, self.job(model, "prepare"), self.args.prepare_limit)
                if "path" in got:
                    paths.setdefault(engine, {})[model] = got["path"]
                else:
                    self.add(0, model, engine, self.args.threads[0], [{"test": f"pp{self.args.prompt}", "why": got["why"]}])
        return paths

    def add(self, number, model, engine, threads, rows):
        self.raw["results"] += [{"round": number, "model": model.stem, "engine": engine, **row, "threads": threads} for row in rows]

    def probe(self, number):
        self.raw["probes"] += [{"round": number, **row} for row in measuring.probe(self.args.skald, self.args.threads)]

    def measure(self, paths):
        for number in range(1, self.args.rounds + 1):
            self.probe(number)
            order = list(paths) if number % 2 else list(reversed(paths))
            for model in self.args.models:
                for threads in self.args.threads:
                    for engine in order:
                        if model not in paths[engine]:
                            continue
                        text = str(self.args.text) if self.args.text and number == 1 and threads == max(self.args.threads) else None
                        job = self.job(model, "measure", path=paths[engine][model], threads=threads, text=text)
                        got = self.call(engine, job, self.args.limit)
                        self.add(number, model, engine, threads, got.get("results", [{"test": f"pp{self.args.prompt}", **got}]))
                        note(f"round {number}/{self.args.rounds}  {model.name}  {threads} threads  {engine}")

    def write(self):
        out = self.args.out
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_suffix(".json").write_text(json.dumps(self.raw, indent=1) + "\n")
        text = report.markdown(self.raw)
        out.with_suffix(".md").write_text(text)
        print(text)
        measuring.draw(self.environment, HERE, "report", out.with_suffix(".json"), out.with_suffix(".png"), not self.args.no_install)


def self_test(args):
    """skald alone, every kind of test: each must have given a figure."""
    args.models, args.engines, args.no_install = [ROOT / "tests/data/tiny-llama.gguf"], ["skald"], True
    args.rounds, args.threads, args.prompt, args.decode, args.depth, args.batch = 2, [1], 16, 4, [0, 32], [1, 3]
    args.text = HERE / "README.md"
    comparison = Comparison(args)
    comparison.measure(comparison.prepare())
    comparison.write()
    rows = comparison.raw["results"]
    missing = [r for r in rows if not r.get("tok_s", r.get("value", 0)) > 0]
    if missing or len(rows) != 9:
        raise SystemExit(f"self-test: of 9 figures {len(rows)} came, and these without a number: {missing}")


def numbers(text):
    return [int(n) for n in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, help="GGUF files")
    parser.add_argument("--engines", type=lambda s: s.split(","), default=list(ENGINES))
    parser.add_argument("-k", "--rounds", type=int, default=3)
    parser.add_argument("-t", "--threads", type=numbers, default=[1, 2])
    parser.add_argument("-p", "--prompt", type=int, default=512, help="tokens of the prompt test; 0: none")
    parser.add_argument("-n", "--decode", type=int, default=128, help="tokens of the decode test; 0: none")
    parser.add_argument("--depth", type=numbers, default=[0], help="tokens before those of the decode test, as in 0,4096,16384")
    parser.add_argument("--batch", type=numbers, default=[1], help="sequences decoded together, as in 1,16")
    parser.add_argument("--text", type=Path, help="measure perplexity on this text too, once")
    parser.add_argument("--out", type=Path, default=Path("compare"), help="OUT.md, OUT.png and OUT.json")
    parser.add_argument("--skald", type=Path, default=ROOT / "build/release/bin/skald", help="skald's program; bench_probe lies beside it")
    parser.add_argument("--venv", type=Path, default=ROOT / "build/compare-venv")
    parser.add_argument("--forms", type=Path, default=ROOT / "build/compare-forms", help="where converted models are kept")
    parser.add_argument("--no-install", action="store_true", help="leave out what the environment does not have")
    parser.add_argument("--limit", type=int, default=600, help="seconds an engine's run may take")
    parser.add_argument("--prepare-limit", type=int, default=1800, help="seconds a conversion may take")
    parser.add_argument("--self-test", action="store_true")
    args = parser.parse_args()
    args.skald = args.skald.resolve()
    if not args.skald.is_file():
        raise SystemExit(f"{args.skald} is not there; build it (cmake --workflow --preset release) or say --skald")
    if args.self_test:
        return self_test(args)
    for model in args.models:
        if not model.is_file():
            raise SystemExit(f"{model} is not a file")
    for engine in args.engines:
        if engine not in ENGINES:
            raise SystemExit(f"--engines: {engine} is none of {', '.join(ENGINES)}")
    if not args.models:
        raise SystemExit("no model is given")
    args.models = [m.resolve() for m in args.models]
    if os.getloadavg()[0] > 0.5:
        note(f"the load of this machine is {os.getloadavg()[0]:.1f}; numbers are worth something on a quiet one only")
    comparison = Comparison(args)
    comparison.measure(comparison.prepare())
    comparison.write()


if __name__ == "__main__":
    main()
