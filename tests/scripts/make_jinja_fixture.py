# SPDX-License-Identifier: MIT
"""Writes tests/data/jinja/cases.json: small templates of our own, the variables they get, and what Python's jinja2 makes of them.

The environment is the one in which transformers runs chat templates. A case whose rendering raises an exception has no "out".
Usage: make_jinja_fixture.py [OUT]        Needs: jinja2, transformers.
"""
import copy
import json
import sys
from pathlib import Path

import jinja2
from transformers.utils import chat_template_utils

CONTEXT = {
    "s": "Hello World", "u": "héß ǆ世界 🎉", "blank": "", "n": 5, "z": 0, "f": 2.5, "t": True, "no": None, "neg": -7,
    "l": [1, 2, 3], "ls": ["b", "A", "c", "a"], "mixed": [1, "a", None, 2.5, [True]], "d": {"a": 1, "b": {"c": [1, {"k": "v"}]}, "items": 7},
    "messages": [{"role": "user", "content": "hi", "n": 3}, {"role": "assistant", "content": "Yo <b>\n", "n": 1},
                 {"role": "user", "content": "it's \"q\"", "n": 2}],
    "tool": {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "string", "enum": ["a", "é"]}}, "required": []}},
}

TEMPLATES = Path(__file__).with_name("jinja_cases.txt")


def main():
    compile_template = chat_template_utils._cached_compile_jinja_template
    cases = []
    for source in TEMPLATES.read_text().removesuffix("\n").split("\n----\n"):
        case = {"template": source}
        try:
            case["out"] = compile_template(source).render(**copy.deepcopy(CONTEXT))
        except Exception as problem:  # whatever Python raises, the rendering fails
            case["problem"] = f"{type(problem).__name__}: {problem}"
        cases.append(case)
    root = Path(__file__).resolve().parents[2]
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else root / "tests/data/jinja/cases.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"jinja2": jinja2.__version__, "context": CONTEXT, "cases": cases}, ensure_ascii=False, indent=1) + "\n")
    print(len(cases), "cases,", sum("out" not in c for c in cases), "that fail")


if __name__ == "__main__":
    main()
