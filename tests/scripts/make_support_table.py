#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the README's tables of what is supported, out of what the tests say they have shown (tests/support/covered.hpp).

    python make_support_table.py BUILD_FOLDER [--check]

Runs the tests of BUILD_FOLDER that tell something and puts their tables between the README's marks `<!-- support: TABLE -->` and
`<!-- end -->`. With --check nothing is written: exit status 1 if the README says something else.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
AREAS = ["format", "backend", "model"]


def told(build):
    """table → row → column → values, as the tests say."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "support.tsv"
        environment = {**os.environ, "SKALD_SUPPORT": str(path)}
        for area in AREAS:
            program = build / "bin" / f"test_{area}"
            done = subprocess.run([program, "[support]"], env=environment, capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(f"{program} failed:\n{done.stdout}{done.stderr}")
        tables = {}
        for line in path.read_text().splitlines():
            table, row, column, value = line.split("\t")
            values = tables.setdefault(table, {}).setdefault(row, {}).setdefault(column, [])
            if value not in values:
                values.append(value)
        return tables


def rendered(rows):
    """A table in Markdown; columns in the order in which they were first told."""
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for row, cells in rows.items():
        lines.append(f"| {row} | " + " | ".join(", ".join(cells.get(column, [])) for column in columns) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    tables = told(options.build)
    readme = ROOT / "README.md"
    before = readme.read_text()
    wanted = re.findall(r"<!-- support: (.*?) -->", before)
    if set(wanted) != set(tables):
        sys.exit(f"the README has tables {sorted(wanted)}; the tests tell of {sorted(tables)}")

    def replace(match):
        return f"<!-- support: {match[1]} -->\n{rendered(tables[match[1]])}\n<!-- end -->"

    after = re.sub(r"<!-- support: (.*?) -->\n.*?<!-- end -->", replace, before, flags=re.S)
    if options.check:
        if after != before:
            sys.exit("the README's support tables are not what the tests show: python3 tests/scripts/make_support_table.py " + str(options.build))
        return
    readme.write_text(after)


if __name__ == "__main__":
    main()
