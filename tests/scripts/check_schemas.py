#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random JSON schemas against Python's jsonschema: what the grammar of a schema gives must parse and validate, what validates must be
accepted, and damaged documents that no longer validate must be refused.

usage: check_schemas.py TEST_GRAMMAR_PROGRAM [--count 1000] [--seed N] [--vocabulary FILE.gguf]
       check_schemas.py --fixture tests/data/grammar/schemas.jsonl      writes the small set that the tests read

Needs jsonschema, rfc3339-validator and fqdn.
"""
import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile

import jsonschema

WORDS = ["id", "name", "items", "a", "b", "ab", "long name", "é", "x/y", "x~y", "quote\"d", "tab\t", "日本", "_1", ""]
PATTERNS = [("^[a-z]{2,5}$", ["abc", "zz", "hello"]), ("foo", ["foo", "a foo!", "\nfoo"]), ("^[A-Z]", ["A", "Zebra é"]),
            ("^(\\d{3}-)?\\d{4}$", ["1234", "555-1234"]), ("[0-9]+$", ["x9", "42"]), ("^a|b$", ["abc", "xb", "a"]),
            ("^[^\"\\\\]*$", ["", "plain é🦙"]), ("^\\w+@\\w+\\.com$", ["me@x.com"]), ("^(ab|cd)*$", ["", "abcdab"]),
            ("^\\s*$", ["", " \t"]), ("^\\S+\\s\\S+$", ["two words"]), ("^.{3}$", ["abc", "é日🦙"]), ("^x(?:y|z)+?$", ["xyz"])]
FORMATS = {"date": ["2024-02-29", "1999-12-31"], "time": ["23:59:59Z", "00:00:00.5+01:00"], "date-time": ["2024-02-29T12:00:00Z"],
           "uuid": ["123e4567-e89b-12d3-a456-426614174000"], "ipv4": ["1.2.3.4", "255.255.255.255"], "email": ["a.b@example.org"],
           "ipv6": ["1:2:3:4:5:6:7:8"], "hostname": ["example.org"], "int32": ["whatever"]}


class Maker:
    """Makes schemas, each with a function that makes documents for it (which mostly validate)."""

    def __init__(self, rng):
        self.rng = rng
        self.defs = {}
        self.makers = {}

    def chance(self, p):
        return self.rng.random() < p

    def text(self, low=0, high=8):
        alphabet = "abcXYZ 0123\"\\/\n\té日🦙\u007f\u0001"
        return "".join(self.rng.choice(alphabet) for _ in range(self.rng.randint(low, high)))

    def make(self, depth):
        kinds = ["null", "boolean", "integer", "integer", "number", "string", "string", "pattern", "format", "enum", "const", "types"]
        if depth > 0:
            kinds += ["array", "tuple", "object", "object", "object", "map", "any_of", "one_of", "all_of", "ref", "any", "all_numbers"] * 2
        schema, maker = getattr(self, self.rng.choice(kinds))(depth)
        if isinstance(schema, dict) and self.chance(0.1):
            schema["description"] = "some words"
        return schema, maker

    def null(self, depth):
        return {"type": "null"}, lambda: None

    def boolean(self, depth):
        return {"type": "boolean"}, lambda: self.chance(0.5)

    def integer(self, depth):
        low, high = sorted(self.rng.choice([self.rng.randint(-20, 20), self.rng.randint(-10**6, 10**6), self.rng.randint(-10**12, 10**12)])
                           for _ in range(2))
        s = {"type": "integer"}
        step = self.rng.choice([1, 1, 1, 2, 3, 7, 10, 25, 100, 1500])
        if step > 1:
            s["multipleOf"] = step
        if step > 200 and step % 10 or self.chance(0.5):
            s["minimum"] = low
        else:
            low = min(-10**6, high - 1000)
        kind = self.rng.randint(0, 3)
        if kind == 1:
            s["maximum"] = high
        elif kind == 2:
            s["exclusiveMaximum"] = high
        elif kind == 3 and "minimum" in s:
            s["exclusiveMinimum"] = s.pop("minimum") + 0.5
        if kind not in (1, 2):
            high = max(low, 10**6)
        return s, lambda: self.rng.randint(low, high + 1) // step * step if self.chance(0.8) else self.rng.choice([low, low - 1, high, high + 1])

    def number(self, depth):
        s = {"type": "number"}
        low, high = sorted(self.rng.choice([round(self.rng.uniform(-3, 3), 2), self.rng.randint(-100, 100), round(self.rng.uniform(-1e5, 1e5), 3)])
                           for _ in range(2))
        kind = self.rng.randint(0, 4)
        if kind == 0:
            return s, lambda: self.rng.choice([0, 1.5, -2e-7, 1e30, 123456.789, self.rng.uniform(-1e3, 1e3)])
        if kind in (1, 3):
            s["minimum" if self.chance(0.5) else "exclusiveMinimum"] = low
        if kind in (2, 3, 4):
            s["maximum" if self.chance(0.5) else "exclusiveMaximum"] = high
        if kind == 4:
            s["minimum"] = low
        return s, lambda: self.rng.choice([low, high, round(self.rng.uniform(low, high), 2), round((low + high) / 2, 3), round(low - 0.1, 3), round(high + 0.1, 3)])

    def string(self, depth):
        s = {"type": "string"}
        low, high = sorted((self.rng.randint(0, 6), self.rng.choice([3, 8, 40])))
        if self.chance(0.4):
            s["minLength"] = low
        if self.chance(0.4):
            s["maxLength"] = high
        return s, lambda: self.text(low, high)

    def pattern(self, depth):
        pattern, texts = self.rng.choice(PATTERNS)
        s = {"type": "string", "pattern": pattern}
        if self.chance(0.3):
            s["maxLength"] = self.rng.randint(2, 9)
        if self.chance(0.2):
            s["minLength"] = self.rng.randint(0, 4)
        return s, lambda: self.rng.choice(texts)

    def format(self, depth):
        name, texts = self.rng.choice(list(FORMATS.items()))
        return {"type": "string", "format": name}, lambda: self.rng.choice(texts)

    def value(self, depth=1):
        simple = [None, True, False, 0, -7, 2.5, 1e-7, "x", "q\"\\\n", "日本🦙", 10**15]
        if depth and self.chance(0.3):
            return self.rng.choice([[self.value(0), self.value(0)], {"k": self.value(0), "é": self.value(0)}, [], {}])
        return self.rng.choice(simple)

    def enum(self, depth):
        values = [self.value() for _ in range(self.rng.randint(1, 5))]
        s = {"enum": values}
        if self.chance(0.2):
            s["type"] = self.rng.choice(["string", "integer", "number", "null"])
            values = values + ["x"]
            s["enum"] = values + [None, 3, 1.5]
        return s, lambda: self.rng.choice(s["enum"])

    def const(self, depth):
        value = self.value()
        return {"const": value}, lambda: value

    def types(self, depth):
        names = self.rng.sample(["null", "boolean", "integer", "number", "string"], self.rng.randint(1, 3))
        return {"type": names}, lambda: self.rng.choice([None, True, 3, 2.5, "x"])

    def any(self, depth):
        return self.rng.choice([True, {}]), lambda: self.value()

    def bounds(self):
        low = self.rng.randint(0, 3)
        return low, low + self.rng.randint(0, 3)

    def array(self, depth):
        item, make = self.make(depth - 1)
        s = {"type": "array", "items": item}
        low, high = self.bounds()
        if self.chance(0.5):
            s["minItems"] = low
        if self.chance(0.5):
            s["maxItems"] = high
        return s, lambda: [make() for _ in range(self.rng.randint(low, high))]

    def tuple(self, depth):
        parts = [self.make(depth - 1) for _ in range(self.rng.randint(1, 3))]
        s = {"type": "array", "prefixItems": [p[0] for p in parts]}
        rest, make = self.make(depth - 1)
        more = 0
        kind = self.rng.randint(0, 2)
        if kind == 0:
            s["items"] = False
        elif kind == 1:
            s["items"] = rest
            more = 2
        if self.chance(0.5):
            s["minItems"] = self.rng.randint(0, len(parts) + more)
        if self.chance(0.3):
            s["maxItems"] = self.rng.randint(1, len(parts) + 2)
        return s, lambda: ([p[1]() for p in parts] + [make() for _ in range(more)])[: self.rng.randint(0, len(parts) + more)]

    def object(self, depth):
        names = self.rng.sample(WORDS, self.rng.randint(1, 5))
        parts = {n: self.make(depth - 1) for n in names}
        s = {"type": "object", "properties": {n: p[0] for n, p in parts.items()}}
        required = [n for n in names if self.chance(0.5)]
        if required:
            s["required"] = required
        extra = None
        kind = self.rng.randint(0, 5)
        if kind == 0:
            s["additionalProperties"] = True
            extra = self.value
        elif kind == 1:
            s["additionalProperties"], extra = self.make(depth - 1)
        elif kind < 5:
            s["additionalProperties"] = False
        if self.chance(0.15):
            s["maxProperties"] = self.rng.randint(max(1, len(required)), 6)
        if self.chance(0.15) and s.get("additionalProperties") is False:
            s["minProperties"] = self.rng.randint(0, len(names))
        if self.chance(0.1) and extra:
            s["propertyNames"] = {"maxLength": 9}

        def make():
            out = {n: parts[n][1]() for n in names if n in required or self.chance(0.6)}
            if extra and self.chance(0.6):
                for _ in range(self.rng.randint(1, 2)):
                    out[self.rng.choice(["zz", "ide", "nam", "α", "A\tB"])] = extra()
            return out
        return s, make

    def map(self, depth):
        part, make = self.make(depth - 1)
        s = {"type": "object", "additionalProperties": part}
        key = lambda: self.text(0, 4)
        if self.chance(0.3):
            pattern, texts = self.rng.choice(PATTERNS)
            del s["additionalProperties"]
            s["patternProperties"] = {pattern: part}
            s["additionalProperties"] = False
            key = lambda: self.rng.choice(texts)
        if self.chance(0.3):
            s["minProperties"] = 1
        if self.chance(0.3):
            s["maxProperties"] = self.rng.randint(1, 3)
        return s, lambda: {key(): make() for _ in range(self.rng.randint(0, 3))}

    def any_of(self, depth):
        parts = [self.make(depth - 1) for _ in range(self.rng.randint(1, 3))]
        return {"anyOf": [p[0] for p in parts]}, lambda: self.rng.choice(parts)[1]()

    def one_of(self, depth):
        if self.chance(0.5):
            parts = [self.rng.choice([self.integer, self.number])(depth), self.string(depth), self.null(depth)]
        else:
            parts = []
            for tag in ("cat", "dog"):
                s, make = self.object(depth)
                s["properties"] = {"kind": {"const": tag}, **s["properties"]}
                s["required"] = ["kind"] + s.get("required", [])
                s.pop("maxProperties", None)
                s.pop("propertyNames", None)
                parts.append((s, lambda make=make, tag=tag: {"kind": tag, **make()}))
        return {"oneOf": [p[0] for p in parts]}, lambda: self.rng.choice(parts)[1]()

    def all_of(self, depth):
        a, make_a = self.object(depth)
        b, make_b = self.object(depth)
        for s in (a, b):
            for keyword in ("additionalProperties", "minProperties", "maxProperties", "propertyNames"):
                s.pop(keyword, None)

        def make():
            first, second = make_a(), make_b()
            return {n: v for n, v in [*((k, v) for k, v in first.items() if k in a["properties"]),
                                      *((k, v) for k, v in second.items() if k in b["properties"] and k not in a["properties"])]}
        return {"allOf": [a, b]}, make

    def all_numbers(self, depth):
        a, make = self.integer(depth)
        b, _ = self.number(depth)
        return {"allOf": [a], **b}, make

    def ref(self, depth):
        if not self.defs or self.chance(0.5):
            name = self.rng.choice(["node", "a/b", "c~d", "per%cent"]) + str(len(self.defs))
            self.defs[name] = None
            self.makers[name] = lambda: None
            s, make = self.make(depth - 1)
            if isinstance(s, dict) and s.get("type") == "object" and "properties" in s and self.chance(0.6):
                s["properties"]["next"] = {"$ref": self.pointer(name)}
                if s.get("required"):
                    s["required"] = [r for r in s["required"] if r != "next"]
            self.defs[name] = s
            self.makers[name] = make
        name = self.rng.choice(list(self.defs))
        return {"$ref": self.pointer(name)}, lambda: self.makers[name]()

    @staticmethod
    def pointer(name):
        return "#/$defs/" + name.replace("~", "~0").replace("/", "~1").replace("%", "%25")

    def root(self):
        schema, maker = self.make(3)
        if self.defs:
            schema = {**schema, "$defs": self.defs} if isinstance(schema, dict) else {"allOf": [schema], "$defs": self.defs}
        return schema, maker


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def validity(schema, text):
    """True or False; None where the reference itself gives up."""
    try:
        value = json.loads(text)
    except ValueError:
        return False
    try:
        return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER).is_valid(value)
    except (RecursionError, jsonschema.exceptions._WrappedReferencingError):
        return None


def damaged(rng, text):
    chars = list(text)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(chars) + 1)
        kind = rng.randint(0, 2)
        if kind == 0 and chars:
            del chars[min(at, len(chars) - 1)]
        elif kind == 1:
            chars.insert(at, rng.choice("{}[],:\"0123456789.-e\\ntabé"))
        elif chars:
            chars[min(at, len(chars) - 1)] = rng.choice("{}[],:\"0123456789.-e\\xé")
    return "".join(chars)


def well_formed(schema):
    """Leaves out what the random parts made contradictory to the reference."""
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
        return True
    except jsonschema.SchemaError:
        return False


def make_case(seed, samples):
    rng = random.Random(seed)
    while True:
        maker = Maker(rng)
        schema, make = maker.root()
        if not well_formed(schema):
            continue
        texts, valid = [], []
        for _ in range(30):
            try:
                text = compact(make())
            except RecursionError:
                continue
            for candidate in (text, damaged(rng, text)):
                ok = validity(schema, candidate)
                if ok is None or (ok and candidate != text) or candidate in texts:
                    continue
                texts.append(candidate)
                valid.append(ok)
        return {"schema": schema, "seed": seed % 2**32, "samples": samples, "blanks": rng.random() < 0.5, "open": True, "texts": texts, "valid": valid}


def has_large_integer(text):
    return any(len(n) > 18 for n in re.findall(r"\d+", text))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("program", nargs="?")
    p.add_argument("--count", type=int, default=1000)
    p.add_argument("--samples", type=int, default=10)
    p.add_argument("--seed", type=int, default=random.randrange(10**6))
    p.add_argument("--vocabulary")
    p.add_argument("--fixture")
    a = p.parse_args()
    print("seed", a.seed)
    cases = [make_case(a.seed * 1000003 + i, a.samples) for i in range(a.count)]
    with tempfile.TemporaryDirectory() as folder:
        path_in, path_out = folder + "/schemas", folder + "/samples"
        with open(path_in, "w") as f:
            f.writelines(json.dumps(c) + "\n" for c in cases)
        env = {**os.environ, "SKALD_SCHEMAS": path_in, "SKALD_SAMPLES": path_out}
        if a.vocabulary:
            env["SKALD_VOCABULARY"] = a.vocabulary
        subprocess.run([a.program, "samples of many schemas"], env=env, check=True, stdout=subprocess.DEVNULL)
        with open(path_out) as f:
            answers = [json.loads(line) for line in f]
    assert len(answers) == len(cases)
    counts = dict.fromkeys(["refused", "samples", "invalid", "unknown", "unfinished", "stuck", "accepted", "missed", "rejected", "wrongly accepted"], 0)
    reasons = {}
    kept = []
    for case, answer in zip(cases, answers):
        schema = case["schema"]
        if "error" in answer:
            counts["refused"] += 1
            reason = re.sub(r"'[^']*'|\d+", "…", answer["error"])
            reasons[reason] = reasons.get(reason, 0) + 1
            continue
        counts["unfinished"] += answer["unfinished"]
        counts["stuck"] += answer["stuck"]
        for text in answer["samples"]:
            counts["samples"] += 1
            ok = validity(schema, text)
            if ok is None:
                counts["unknown"] += 1
            elif not ok:
                counts["invalid"] += 1
                print("INVALID", compact(schema), "\n   ", text)
        agrees = True
        for text, valid, accepted in zip(case["texts"], case["valid"], answer["accepted"]):
            counts["accepted" if valid and accepted else "missed" if valid else "wrongly accepted" if accepted else "rejected"] += 1
            if valid != accepted:
                agrees = False
                print("MISSED" if valid else "WRONGLY ACCEPTED", compact(schema), "\n   ", text)
        if agrees and len(compact(schema)) < 500:
            kept.append({k: case[k] for k in ("schema", "blanks", "open", "texts", "valid")})
    print(counts)
    for reason, n in sorted(reasons.items(), key=lambda r: -r[1]):
        print(n, reason)
    if a.fixture:
        with open(a.fixture, "w") as f:
            for case in kept:
                case["texts"], case["valid"] = case["texts"][:12], case["valid"][:12]
                f.write(json.dumps(case) + "\n")
    sys.exit(1 if counts["invalid"] or counts["missed"] or counts["wrongly accepted"] or counts["stuck"] else 0)


if __name__ == "__main__":
    main()
