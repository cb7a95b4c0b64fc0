"""
tests/tidy/check.py NAME - the rules that no compiler holds. Exit 1 and one line per finding.

  boundaries  module directions, one owner per library, banned functions
  planted     the rules above find faults put in on purpose
  format      clang-format
  cppcheck    cppcheck
  clang       everything compiles with clang, warnings as errors
  clang-tidy  clang-tidy
  docs        files that docs name exist
"""
import concurrent.futures
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.chdir(ROOT)

# module -> modules it may include; the first match by path prefix counts
ALLOWED = [
    ("sync/base/", ["sync/base/"]),
    ("sync/core/", ["sync/core/", "sync/base/"]),
    ("sync/seal/", ["sync/seal/", "sync/core/", "sync/base/"]),
    ("sync/net/", ["sync/net/", "sync/seal/", "sync/core/", "sync/base/"]),
    ("sync/gateway/", ["sync/gateway/", "sync/net/", "sync/seal/", "sync/core/", "sync/base/"]),
    ("node/", ["node/", "sync/net/", "sync/seal/", "sync/core/", "sync/base/"]),
]
OWNERS = {
    "sqlite3": ["node/store/", "node/cryptvfs/"],
    "sodium": ["sync/seal/", "node/keys/", "node/cryptvfs/"],
    "curl/": ["node/transport/", "sync/net/fetch.c"],
    "microhttpd": ["sync/net/"],
    "gnutls/": ["sync/net/", "node/keys/"],
    "libpq": ["sync/gateway/"],
    "cjson/": ["sync/net/json.h"],
    "ini.h": ["sync/base/config.c"],
    "zstd": ["sync/seal/"],
    "qrencode": ["node/"],
    "uv.h": ["sync/net/", "sync/gateway/", "node/"],
}
BANNED = re.compile(r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atof|system|popen|rand|srand|alloca|"
                    r"localtime|gmtime|asctime|ctime|mktemp|tmpnam)\s*\(")
CORE_HEADERS = {"stdint.h", "stddef.h", "stdbool.h", "string.h", "limits.h", "stdalign.h", "inttypes.h", "stdarg.h"}


def files(*endings, under=("sync", "node", "tests")):
    for top in under:
        for folder, _, names in os.walk(top):
            for name in sorted(names):
                if name.endswith(endings):
                    yield os.path.join(folder, name)


def without_comments(text):
    keep_lines = lambda m: re.sub(r"[^\n]", " ", m[0])
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', keep_lines, text, flags=re.S)


def boundaries(sources=None):
    """sources: (path, text) pairs; the tree's own by default."""
    findings = []
    for path, text in sources or ((p, open(p, encoding="utf-8").read()) for p in files(".c", ".h", under=("sync", "node"))):
        allowed = next((a for prefix, a in ALLOWED if path.startswith(prefix)), [])
        for n, line in enumerate(text.splitlines(), 1):
            if m := re.match(r'\s*#\s*include\s+"([^"]+)"', line):
                if "/" in m[1] and not any(m[1].startswith(a) for a in allowed):
                    findings.append(f"{path}:{n}: may not include {m[1]}")
            if m := re.match(r"\s*#\s*include\s+<([^>]+)>", line):
                for library, owners in OWNERS.items():
                    if m[1].startswith(library) and not any(path.startswith(o) for o in owners):
                        findings.append(f"{path}:{n}: <{m[1]}> belongs to {', '.join(owners)}")
                if path.startswith("sync/core/") and m[1] not in CORE_HEADERS:
                    findings.append(f"{path}:{n}: sync/core is pure: no <{m[1]}>")
        for n, line in enumerate(without_comments(text).splitlines(), 1):
            if m := BANNED.search(line):
                findings.append(f"{path}:{n}: {m[1]} is banned")
    return findings


def output_of(command):
    p = subprocess.run(command, capture_output=True, text=True, check=False)
    return p.returncode, (p.stdout + p.stderr).strip().splitlines()


def clang_format():
    code, lines = output_of(["clang-format", "--dry-run", "-Werror", *files(".c", ".h")])
    return [x for x in lines if "warning" in x or "error" in x] if code else []


def cppcheck():
    code, lines = output_of(["cppcheck", "--quiet", "--std=c11", "--enable=warning,portability,performance",
                             "--inline-suppr", "--error-exitcode=1", "--suppress=missingIncludeSystem", "-I", ".",
                             "-D__GNUC__=12", "-j2", "sync", "node"])
    return lines if code else []


def clang():
    for command in (["cmake", "--preset", "clang"], ["cmake", "--build", "--preset", "clang", "-j", "2"]):
        code, lines = output_of(command)
        if code:
            return lines[-80:]
    return []


def clang_tidy():
    output_of(["cmake", "--preset", "clang"])
    sources = list(files(".c", under=("sync", "node")))

    def tidy(path):
        code, lines = output_of(["clang-tidy", "--quiet", "-p", "build/clang", path])
        return [x for x in lines if ": warning:" in x or ": error:" in x] if code else []

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return [finding for findings in pool.map(tidy, sources) for finding in findings]


def docs():
    findings = []
    for path in ["README.md"] + [os.path.join("docs", d) for d in sorted(os.listdir("docs")) if d.endswith(".md")]:
        for n, line in enumerate(open(path, encoding="utf-8"), 1):
            for m in re.finditer(r"`((?:sync|node|schema|packaging|tests|docs)/[A-Za-z0-9_./-]+)`", line):
                name = m[1].rstrip(".")
                if not os.path.exists(name) and not os.path.exists(name + ".c"):
                    findings.append(f"{path}:{n}: {m[1]} does not exist")
            for m in re.finditer(r"`([a-z0-9_/]+\.(?:c|h|sql)):([a-z0-9_]+)`", line):
                if not os.path.exists(m[1]) or not re.search(rf"\b{m[2]}\(", open(m[1], encoding="utf-8").read()):
                    findings.append(f"{path}:{n}: there is no {m[2]} in {m[1]}")
            for m in re.finditer(r"\]\(([^)#:]+)(?:#[^)]*)?\)", line):
                if not os.path.exists(os.path.join(os.path.dirname(path), m[1])):
                    findings.append(f"{path}:{n}: link to {m[1]} leads nowhere")
    return findings


def planted():
    """Each rule, broken once: a rule that finds nothing here finds nothing anywhere."""
    faults = {
        "core includes the gateway": ("sync/core/x.c", '#include "sync/gateway/push.h"'),
        "node includes the gateway": ("node/api/x.c", '#include "sync/gateway/push.h"'),
        "the gateway includes node": ("sync/gateway/x.c", '#include "node/store/store.h"'),
        "base includes core": ("sync/base/x.h", '#include "sync/core/text.h"'),
        "the API speaks SQLite": ("node/api/x.c", "#include <sqlite3.h>"),
        "the node speaks libpq": ("node/engine/x.c", "#include <libpq-fe.h>"),
        "core reads a clock": ("sync/core/x.c", "#include <time.h>"),
        "cJSON without the strict door": ("node/api/x.c", "#include <cjson/cJSON.h>"),
        "strcpy": ("node/api/x.c", "strcpy(a, b);"),
        "sprintf": ("sync/net/x.c", "n = sprintf(a, b);"),
    }
    findings = [f"not found: {name}" for name, source in faults.items() if not boundaries([source])]
    fine = ("node/api/x.c", '#include "sync/net/json.h"\n/* strcpy(a, b) */ const char *s = "system(x)";\nbase_strcpy (a);')
    return findings + [f"found without reason: {f}" for f in boundaries([fine])]


CHECKS = {"boundaries": boundaries, "planted": planted, "format": clang_format, "cppcheck": cppcheck, "clang": clang,
          "clang-tidy": clang_tidy, "docs": docs}

if __name__ == "__main__":
    found = CHECKS[sys.argv[1]]()
    print("\n".join(found))
    sys.exit(1 if found else 0)
