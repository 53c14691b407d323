#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Damages files in many ways and lets the program skald read them: it must answer with status 0, or with 1 and one line, in time and
within memory.

    python check_damage.py SKALD FOLDER [--runs N] [--seed S] [--memory MB] [--seconds S]

FOLDER holds the sound files (tests/data): GGUF files, folders of Hugging Face, tokenizer.json files, templates, grammars, schemas. Prints the
seed and every offence with the damaged file kept beside it; exit status 1 if there is one. Build SKALD with sanitizers to see more
(and then give --memory 0: they reserve terabytes).
"""
import argparse
import json
import pathlib
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile

NASTY = [0, 1, 2, 7, 31, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1]


def bytes_damage(data, rng):
    """One to four random cuts, flips, numbers and moves of a byte string."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if not data:
            return bytes(data)
        # Headers matter most: half the damage goes into the first 4 KiB.
        at = rng.randrange(min(len(data), 4096)) if rng.random() < 0.5 else rng.randrange(len(data))
        kind = rng.randrange(7)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            data[at] = rng.randrange(256)
        elif kind == 3:
            size = rng.choice([4, 8])
            data[at : at + size] = struct.pack("<Q", rng.choice(NASTY))[:size]
        elif kind == 4:
            del data[at : at + rng.choice([1, 2, 8, 64])]
        elif kind == 5:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 2, 8, 64])))
        else:
            size = rng.choice([1, 8, 32])
            data[at:at] = data[at : at + size] * rng.choice([1, 2, 50])
    return bytes(data)


def json_damage(value, rng):
    """The same of a JSON document's meaning: one value is replaced, dropped, doubled or nested."""
    places = []

    def walk(node):
        children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else []
        for key, child in list(children)[:2000]:
            places.append((node, key))
            walk(child)

    walk(value)
    if not places:
        return value
    for _ in range(rng.choice([1, 1, 2])):
        node, key = rng.choice(places)
        try:
            old = node[key]
        except (KeyError, IndexError):
            continue
        deep = "x"
        for _ in range(rng.choice([3, 5000])):
            deep = [deep]
        new = rng.choice([None, True, -1, 0, 1, 2**31, 2**63, 1e308, -0.5, "", "\u0000", "a" * 70000, [], {}, [old] * 3, {"x": old}, deep,
                          [*old, *old] if isinstance(old, list) else old * 2 if isinstance(old, (int, str)) else "x"])
        if rng.random() < 0.2 and isinstance(node, dict):
            del node[key]
        else:
            node[key] = new
    return value


def dump(value):
    """json.dumps without recursion limits getting in the way of deep values."""
    sys.setrecursionlimit(100000)
    return json.dumps(value).encode()


class Runner:
    def __init__(self, options):
        self.options = options
        self.rng = random.Random(options.seed)
        self.counts = {}
        self.offences = []

    def skald(self, what, arguments, keep, stdin=b""):
        def limits():
            if self.options.memory:
                limit = self.options.memory << 20
                resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

        try:
            done = subprocess.run([self.options.skald, *map(str, arguments)], input=stdin, capture_output=True, timeout=self.options.seconds,
                                  preexec_fn=limits)
            status, err = done.returncode, done.stderr
        except subprocess.TimeoutExpired:
            status, err = "timeout", b""
        self.counts[what, status] = self.counts.get((what, status), 0) + 1
        sound = status == 0 or (status == 1 and err.count(b"\n") == 1 and err.startswith(b"skald: error: "))
        if sound:
            return
        kept = pathlib.Path(tempfile.mkdtemp(prefix="damaged-"))
        (shutil.copytree if keep.is_dir() else shutil.copy)(keep, kept / keep.name)
        self.offences.append((what, status, err[:300], arguments, kept))
        print(f"OFFENCE {what}: status {status}, {err[:300]!r}\n    {' '.join(map(str, arguments))}\n    kept in {kept}", flush=True)

    def damage_file(self, path, target):
        data = path.read_bytes()
        if path.suffix == ".json" and self.rng.random() < 0.6:
            target.write_bytes(dump(json_damage(json.loads(data), self.rng)))
        else:
            target.write_bytes(bytes_damage(data, self.rng))

    def model(self, what, path):
        """Everything that a stranger's model file goes through."""
        tokens = path.parent / "tokens.json"
        tokens.write_text("[[1, 2, 3, 4, 5]]")
        self.skald(what + " inspect", ["inspect", path], path)
        self.skald(what + " plan", ["plan", path, "--ctx", 32], path)
        self.skald(what + " tokenize", ["tokenize", path], path, stdin="Hello  world ½ 東京 \n".encode())
        self.skald(what + " logits", ["logits", path, "--tokens", tokens, "--out", path.parent / "out.npy", "-t", 1], path)
        self.skald(what + " run", ["run", path, "-p", "Hello", "-n", 4, "--ctx", 64, "-t", 1, "-q"], path)

    def run(self, folder):
        ggufs = sorted(folder.rglob("*.gguf"))
        folders = sorted({p.parent for p in folder.rglob("config.json")})
        tokenizers = sorted(folder.glob("tokenizer/json/*.json"))
        vocabularies = sorted(folder.glob("tokenizer/*.gguf"))
        sound = next(p for p in ggufs if p.name == "tiny-llama.gguf")
        texts = {kind: sorted(folder.parent.glob(f"fuzz/seeds/{kind}/*")) for kind in ("template", "gbnf", "json_schema")}
        for i in range(self.options.runs):
            with tempfile.TemporaryDirectory() as scratch:
                scratch = pathlib.Path(scratch)
                kind = i % 6
                if kind == 0 and ggufs:
                    target = scratch / "damaged.gguf"
                    self.damage_file(self.rng.choice(vocabularies if vocabularies and self.rng.random() < 0.3 else ggufs), target)
                    self.model("gguf", target)
                elif kind == 1 and folders:
                    target = scratch / "model"
                    shutil.copytree(self.rng.choice(folders), target, ignore=shutil.ignore_patterns("*.npy"))
                    if tokenizers and self.rng.random() < 0.5:
                        shutil.copy(self.rng.choice(tokenizers), target / "tokenizer.json")
                    victim = self.rng.choice(sorted(p for p in target.rglob("*") if p.is_file()))
                    self.damage_file(victim, victim)
                    self.model("folder", target)
                elif kind == 2 and tokenizers:
                    target = scratch / "tokenizer.json"
                    self.damage_file(self.rng.choice(tokenizers), target)
                    self.skald("tokenizer.json", ["tokenize", target], target, stdin="Hello  world ½ 東京 \n".encode())
                elif kind == 3 and texts["template"]:
                    target, messages = scratch / "t.jinja", scratch / "m.json"
                    self.damage_file(self.rng.choice(texts["template"]), target)
                    messages.write_text('[{"role": "user", "content": "hi"}]')
                    self.skald("template", ["template", target, "--messages", messages], target)
                elif kind == 4 and texts["gbnf"]:
                    target = scratch / "g.gbnf"
                    self.damage_file(self.rng.choice(texts["gbnf"]), target)
                    self.skald("grammar", ["run", sound, "-p", "ab", "-n", 8, "-t", 1, "-q", "--grammar", target], target)
                elif kind == 5 and texts["json_schema"]:
                    target = scratch / "s.json"
                    self.damage_file(self.rng.choice(texts["json_schema"]), target)
                    self.skald("schema", ["run", sound, "-p", "ab", "-n", 8, "-t", 1, "-q", "--json-schema", target], target)
        for (what, status), n in sorted(self.counts.items(), key=str):
            print(f"{what}: status {status}: {n}")
        return 1 if self.offences else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("skald")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--memory", type=int, default=2048, help="MB of address space; 0: no limit")
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    print("seed", options.seed)
    sys.exit(Runner(options).run(options.folder))
