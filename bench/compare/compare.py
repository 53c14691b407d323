# SPDX-License-Identifier: MIT
"""skald and llama.cpp on the same files, machine and threads, in one table.

    python bench/compare/compare.py MODEL.gguf... [--threads 1,2] [--rounds 5] [--out TABLE.md] [--peer-python PYTHON]

A round runs each program once for every number of threads, each in a process of its own, in an order that turns round with every
round; a program warms up before it measures. The table gives medians over the rounds, the least and the greatest in brackets, and
the median of the rounds' ratios. Without --peer-python the first call builds llama-cpp-python for this processor in a virtual environment (minutes).
Needs nothing but Python. What is measured and how: README.md beside this file.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import venv
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PEER_VERSION = "0.3.36"
PEER_SCRIPT = HERE / "llama_cpp_bench.py"


def note(text):
    print(text, file=sys.stderr, flush=True)


def peer_python(folder):
    """The Python of a virtual environment that has llama-cpp-python, which is made where it is not there."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    probe = [str(python), "-c", "import llama_cpp; print(llama_cpp.__version__)"]
    if python.exists():
        found = subprocess.run(probe, capture_output=True, text=True)
        if found.returncode == 0 and found.stdout.strip() == PEER_VERSION:
            return python
    note(f"building llama-cpp-python {PEER_VERSION} in {folder}; this takes some minutes")
    venv.create(folder, with_pip=True)
    env = dict(os.environ, CMAKE_BUILD_PARALLEL_LEVEL=str(os.cpu_count() or 1))
    env["CMAKE_ARGS"] = f"{env.get('CMAKE_ARGS', '')} -DGGML_NATIVE=ON".strip()
    if os.name != "nt":
        for flags in ("CFLAGS", "CXXFLAGS"):
            env[flags] = f"{env.get(flags, '')} -include {HERE / 'gcc_ldtilecfg.h'}".strip()
    package = f"llama-cpp-python=={PEER_VERSION}"
    subprocess.run([str(python), "-m", "pip", "install", "--no-cache-dir", "--no-binary", "llama-cpp-python", package], env=env, check=True)
    return python


def measure(command):
    """The list of results a program prints as JSON."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        hint = "\nA llama.cpp built by an older GCC crashes where the processor has AMX: README.md" if done.returncode < 0 and PEER_SCRIPT in command else ""
        raise SystemExit(f"{' '.join(str(p) for p in command)}\nended with {done.returncode}: {done.stderr.strip()[-2000:]}{hint}")
    return json.loads(done.stdout)


def processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def peer_facts(python):
    code = "import llama_cpp; print(llama_cpp.llama_print_system_info().decode())"
    out = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    on = [part.split("=")[0].replace("CPU :", "").strip() for part in out.split("|") if part.strip().endswith("= 1")]
    return ", ".join(on)


def run_rounds(args, programs):
    """{(model, test, threads): {program: [result of each round]}}"""
    results = {}
    for number in range(args.rounds):
        order = list(programs) if number % 2 == 0 else list(reversed(programs))
        for model in args.models:
            for threads in args.threads:
                for program in order:
                    tests = ["-p", args.prompt, "-n", args.decode, "-t", threads, "--json"]
                    for row in measure([*programs[program], model, *tests]):
                        results.setdefault((model, row["test"], threads), {}).setdefault(program, []).append(row)
                    note(f"round {number + 1}/{args.rounds}  {model.name}  {threads} threads  {program}")
    return results


def rate(rows):
    values = [r["tok_s"] for r in rows]
    digits = 0 if median(values) >= 100 else 1
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def roof(rows):
    """Bytes read a second and what part of the roof measured in the same run that is; empty where a program does not say."""
    known = [r for r in rows if r.get("read_gb_s") and r.get("roof_gb_s")]
    if not known:
        return ""
    share = median(r["read_gb_s"] / r["roof_gb_s"] for r in known)
    return f"{median(r['read_gb_s'] for r in known):.1f} GB/s, {100 * share:.0f}%"


def table(results, programs):
    both = len(programs) == 2
    head = ["model", "test", "threads", *(f"{p} tok/s" for p in programs)] + (["ratio", "skald reads, of the roof"] if both else [])
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * 2 + " ---: |" * (len(head) - 2)]
    for (model, test, threads), found in results.items():
        cells = [model.stem, test, str(threads), *(rate(found[p]) if p in found else "" for p in programs)]
        if both:
            pairs = zip(found.get("skald", []), found.get("llama.cpp", []))
            ratios = [ours["tok_s"] / theirs["tok_s"] for ours, theirs in pairs]
            cells += [f"{median(ratios):.2f}" if ratios else "", roof(found.get("skald", []))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("-p", "--prompt", type=int, default=512)
    parser.add_argument("-n", "--decode", type=int, default=128)
    parser.add_argument("--threads", type=lambda s: [int(n) for n in s.split(",")], default=[1, 2])
    parser.add_argument("-k", "--rounds", type=int, default=5)
    parser.add_argument("--skald", type=Path, default=ROOT / "build/release/bin/skald", help="skald's program")
    parser.add_argument("--peer-only", action="store_true", help="measure llama.cpp alone")
    parser.add_argument("--peer-python", type=Path, help="a Python that has llama-cpp-python; else one is made in --venv")
    parser.add_argument("--venv", type=Path, default=ROOT / "build/compare-venv")
    parser.add_argument("--out", type=Path, help="where the table goes besides the terminal")
    args = parser.parse_args()
    for model in args.models:
        if not model.is_file():
            raise SystemExit(f"{model} is not a file")
    if not args.peer_only and not args.skald.is_file():
        raise SystemExit(f"{args.skald} is not there; build it (cmake --workflow --preset release) or say --peer-only")

    python = args.peer_python or peer_python(args.venv)
    programs = {} if args.peer_only else {"skald": [args.skald, "bench"]}
    programs["llama.cpp"] = [python, PEER_SCRIPT]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5:
        note(f"the load of this machine is {load:.1f}; numbers are worth something on a quiet one only")

    results = run_rounds(args, programs)
    facts = f"{processor()}, {os.cpu_count()} processors; llama-cpp-python {PEER_VERSION} ({peer_facts(python)}); " \
            f"{args.rounds} rounds, medians (least–greatest); load at the start {load:.1f}"
    text = f"{facts}\n\n{table(results, programs)}\n"
    print(text)
    if args.out:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
