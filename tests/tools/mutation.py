#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Breaks the rows of the tables one at a time and tells which broken rows the tests notice.
"""Mutation run over the tables of the source tree.

Each row of each table is broken in one place (a number by one bit, a boolean, an enumerator or function exchanged
for another one of the same column, the row removed), the tests of its folder are built and run, and the row counts
as caught when the build or a test fails. Works on a copy of the tree; takes hours for all rows, so --sample N draws
N rows of each table with --seed.

    tests/tools/mutation.py --build /tmp/mutation --sample 20
"""
import argparse
import dataclasses
import pathlib
import random
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass
class Table:
    """A source file with rows, the test binary that must notice, and its sources that are built and asked first."""
    path: str
    test: str
    first: tuple = ()
    filter: str = "*"


VMX_ROWS = ("rows_test.cpp", "capability_test.cpp")
# Whole families of instructions against the host: they take minutes and read no row of these tables.
NO_FUZZ = "-*Fuzz*:Evex.*:Jit.*:Capstone.*:Thunks.*"

TABLES = [
    Table("src/vmx/controls.h", "vmx", VMX_ROWS),
    Table("src/vmx/vmcs_fields.h", "vmx", VMX_ROWS),
    Table("src/vmx/exit_reasons.h", "vmx", VMX_ROWS),
    Table("src/vmx/vmx_errors.h", "vmx", VMX_ROWS),
    Table("src/vmx/capability_msrs.cpp", "vmx"),
    Table("src/vmx/entry_checks_controls.cpp", "vmx"),
    Table("src/vmx/entry_checks_host.cpp", "vmx"),
    Table("src/vmx/entry_checks_guest.cpp", "vmx"),
    Table("src/vmx/insns.cpp", "vmx"),
    Table("src/cpu/features.cpp", "cpu", filter=NO_FUZZ),
    Table("src/cpu/msr.cpp", "cpu", filter=NO_FUZZ),
    Table("src/cpu/model.cpp", "cpu", filter=NO_FUZZ),
]

# What the copy's build has beyond the tree's: headers that no table stands in, compiled once, and a small
# binary of the tests that look at rows. Every object of it is compiled from the broken table.
BUILD_ADDS = """
target_precompile_headers(droste_cpu PRIVATE <cpu/cpu.h>)
target_precompile_headers(droste_vmx PRIVATE <cpu/cpu.h>)
foreach(name vmx cpu)
  target_precompile_headers(${{name}}_test PRIVATE <gtest/gtest.h> <algorithm> <map> <set> <cpu/cpu.h>)
endforeach()
add_executable(first_test {sources})
target_link_libraries(first_test PRIVATE droste_vmx GTest::gmock GTest::gtest_main)
target_include_directories(first_test PRIVATE ${{CMAKE_CURRENT_SOURCE_DIR}})
target_precompile_headers(first_test PRIVATE <gtest/gtest.h> <algorithm> <map> <set> <cpu/cpu.h>)
"""


@dataclasses.dataclass
class Row:
    start: int
    end: int
    columns: list  # (start, end) of each column's text


def split_columns(text, start):
    """The top-level, comma-separated parts between the braces of a row."""
    columns, depth, begin, quoted = [], 0, start + text.index("{") + 1, False
    for i in range(text.index("{"), len(text)):
        c = text[i]
        if c == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif c in "{(":
            depth += 1
        elif c in "})":
            depth -= 1
            if depth == 0:
                columns.append((begin, start + i))
                return columns
        elif c == "," and depth == 1:
            columns.append((begin, start + i))
            begin = start + i + 1
    return None


def rows_of(source):
    """Every `{...},` that begins a line after four blanks, or follows such a one on its line."""
    found, position = [], 0
    for line in re.finditer(r"^    \{", source, re.M):
        at = line.end() - 1
        while at >= position and source[at:at + 1] == "{":
            columns = split_columns(source[at:at + 1000], at)
            if columns is None or len(columns) < 2 or not source[columns[-1][1]:].startswith("},"):
                break
            end = columns[-1][1] + 2
            found.append(Row(at, end, columns))
            position = end
            at = end + len(source[end:]) - len(source[end:].lstrip(" "))
    return found


def mutants(source, row, rows, rng):
    """All ways to break a row: (description, new text of the file)."""
    made = [("row removed", source[:row.start] + source[row.end:])]
    for n, (a, b) in enumerate(row.columns):
        text = source[a:b]
        core = re.sub(r"^\.\w+ = ", "", text.strip())
        at = a + text.index(core) if core else a

        def put(new):
            made.append((f"{core} -> {new}", source[:at] + new + source[at + len(core):]))

        if re.fullmatch(r"(0x[0-9A-Fa-f']+|\d+)(u|ull)?", core):
            value = int(re.sub(r"[u'l]", "", core), 0)
            put(hex(value ^ (1 << rng.randrange(3))))
        elif core in ("true", "false"):
            put("false" if core == "true" else "true")
        elif re.fullmatch(r'([\w:]+|"\w+"_vmx)', core):
            others = sorted({re.sub(r"^\.\w+ = ", "", source[x:y].strip()) for r in rows if len(r.columns) > n for x, y in [r.columns[n]]})
            kind = "_vmx" if core.endswith("_vmx") else core.split("::")[0] if "::" in core else ""
            others = [o for o in others if o != core and o and (kind in o if kind else re.fullmatch(r"\w+", o))]
            if others and not core.startswith('"') or core.endswith("_vmx") and others:
                put(rng.choice(others))
    return made


class Copy:
    """A copy of the tree with a build of its own."""

    def __init__(self, folder):
        self.tree = folder / "tree"
        self.build = folder / "build"
        if not self.tree.exists():
            shutil.copytree(ROOT, self.tree, ignore=shutil.ignore_patterns("build", ".git", "out"))
            with (self.tree / "tests" / "CMakeLists.txt").open("a") as lists:
                lists.write(BUILD_ADDS.format(sources=" ".join(f"vmx/{name}" for name in VMX_ROWS)))
        self.run(["cmake", "-S", str(self.tree), "-B", str(self.build), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=",
                  "-DCMAKE_CXX_FLAGS=-O0 -w", "-DCMAKE_CXX_COMPILER_LAUNCHER="], check=True)

    def run(self, command, check=False, timeout=3600):
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout)
        except subprocess.TimeoutExpired:
            return 124, "timeout"
        if check and done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done.returncode, done.stdout + done.stderr

    def compile(self, test, check=False):
        return self.run(["ninja", "-C", str(self.build), "-j1", f"{test}_test"], check)

    def test(self, name, pattern="*"):
        return self.run([str(self.build / "tests" / f"{name}_test"), f"--gtest_filter={pattern}",
                         "--gtest_fail_fast", "--gtest_brief=1"], timeout=120)

    def noticed(self, table):
        """How the broken table was noticed; "" when it was not."""
        for name, pattern in ([("first", "*")] if table.first else []) + [(table.test, table.filter)]:
            if self.compile(name)[0]:
                return "caught (build)"
            if self.test(name, pattern)[0]:
                return "caught"
        return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "mutation", help="folder to work in")
    parser.add_argument("--sample", type=int, default=0, help="rows of each table; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--table", action="append", help="only tables whose path contains this")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    options.build.mkdir(parents=True, exist_ok=True)
    copy = Copy(options.build)
    caught = total = 0
    survivors = []
    for table in TABLES:
        if options.table and not any(part in table.path for part in options.table):
            continue
        copy.compile(table.test, check=True)
        code, text = copy.test(table.test, table.filter)
        if code:
            sys.exit(f"the tests of {table.test} fail before anything is broken:\n{text[-2000:]}")
        path = copy.tree / table.path
        source = path.read_text()
        rows = rows_of(source)
        chosen = rng.sample(rows, min(options.sample, len(rows))) if options.sample else rows
        table_caught = 0
        for row in chosen:
            what, broken = rng.choice(mutants(source, row, rows, rng))
            started = time.time()
            path.write_text(broken)
            how = copy.noticed(table) or "SURVIVED"
            path.write_text(source)
            line = " ".join(source[row.start:row.end].split())[:70]
            print(f"{how:20} {time.time() - started:5.0f} s  {line}  [{what[:60]}]", flush=True)
            total += 1
            if how == "SURVIVED":
                survivors.append((table.path, line, what))
            else:
                caught += 1
                table_caught += 1
        print(f"== {table.path}: {table_caught} of {len(chosen)} broken rows caught ({len(rows)} rows)", flush=True)
    print(f"{caught} of {total} broken rows caught ({100 * caught / max(total, 1):.1f} %)")
    for path, line, what in survivors:
        print(f"not caught: {path}: {line}  [{what}]")
    return 0 if total and caught >= 0.98 * total else 1


if __name__ == "__main__":
    sys.exit(main())
