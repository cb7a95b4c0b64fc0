#!/usr/bin/env python3
"""
tests/sim/plant.py LIST OUT FILE... - copies FILEs (and the headers they need) into OUT with the deliberate bugs of LIST planted.

An entry of LIST is a line "name file", a line "- what stands there" and a line "+ what the bug makes of it", where MUTANT is true
while that bug is chosen (ew_mutant). What stands there must be found exactly once. A bug that two lines of defence would stop has
an entry for each, of the same name. An entry whose place is gone is left out here
and named in OUT/mutants.c, so that the test fails and not the build. The shipping sources know nothing of all this.
"""
import os
import re
import sys


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not os.path.exists(path) or read(path) != text:
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)


def entries(path):
    lines = [line for line in read(path).splitlines() if line and not line.startswith("#")]
    for head, old, new in zip(lines[::3], lines[1::3], lines[2::3]):
        name, file = head.split()
        assert old.startswith("- ") and new.startswith("+ "), f"{path}: {name}"
        yield name, file, old[2:], new[2:]


def plant(text, bugs):
    """bugs: (number, old, new). Gives the text and the numbers whose place is gone."""
    spots, gone = [], []
    for number, old, new in bugs:
        # white space and line breaks may differ: the formatter moves them
        pattern = r"\s+".join(map(re.escape, old.split()))
        found = list(re.finditer(pattern, text))
        if len(found) != 1:
            gone.append(number)
        else:
            spots.append((found[0].start(), found[0].end(), re.sub(r"\bMUTANT\b", f"(ew_mutant == {number})", new)))
    spots.sort()
    for a, b in zip(spots, spots[1:]):
        assert a[1] <= b[0], f"two bugs in one place: {a[2]} / {b[2]}"
    for start, end, new in reversed(spots):
        text = text[:start] + new + text[end:]
    return text, gone


def main():
    listing, out, *files = sys.argv[1:]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    bugs = list(entries(listing))
    names = list(dict.fromkeys(b[0] for b in bugs))
    missing = [n for n, f, _, _ in bugs if f not in files]
    assert not missing, f"not among the files: {missing}"
    gone = []
    for file in files:
        text, lost = plant(read(os.path.join(root, file)), [(names.index(b) + 1, o, n) for b, f, o, n in bugs if f == file])
        gone += lost
        write(os.path.join(out, file), "extern int ew_mutant;\n" + f'#line 1 "{file}"\n' + text)
    quoted = "".join(f'    "{n}",\n' for n in names)
    flags = ", ".join("1" if i + 1 in gone else "0" for i in range(len(names)))
    write(os.path.join(out, "mutants.c"),
          "int ew_mutant;\nextern const char *const ew_mutant_names[];\nextern const int ew_mutant_count, ew_mutant_gone[];\n"
          f"const char *const ew_mutant_names[] = {{\n{quoted}}};\n"
          f"const int ew_mutant_gone[] = {{{flags}}};\nconst int ew_mutant_count = {len(names)};\n")


if __name__ == "__main__":
    main()
