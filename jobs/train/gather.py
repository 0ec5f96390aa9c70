#!/usr/bin/env python3
"""Gathers the training text: CPython's standard library and the packages of manifest/packages.json.

    python gather.py --out DIR [--wheels DIR]

Writes DIR/train.jsonl and DIR/heldout.jsonl, one source file a line: {"package", "path", "text"}. Nothing is taken
that does not match its pinned SHA-256: the wheels by pip's own --require-hashes and by packages.json, the standard
library file by file by stdlib.sha256 (made from CPython 3.11.7, the version to run this with). Packages whose split is
"heldout" are seen by neither the tokenizer, the target nor the drafter.
"""
import argparse
import hashlib
import json
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

MANIFEST = Path(__file__).parent / "manifest"
SKIPPED_FOLDERS = {"test", "tests", "testing", "idle_test", "_vendor", "vendor", "site-packages", "lib2to3",
                   "__pycache__", "turtledemo", "locale"}
PACKAGE_BYTES = 4_000_000     # no package may dominate: at most this much of each, files in the order of their hash
STDLIB_BYTES = 12_000_000
FILE_BYTES = (200, 200_000)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def reads_like_code(text):
    """Leaves out tables and generated files: very long lines, or too many digits or non-ASCII characters."""
    lines = text.splitlines()
    if not lines or max(map(len, lines)) > 400 or len(text) / len(lines) > 80:
        return False
    digits = sum(c.isdigit() for c in text)
    return digits < 0.06 * len(text) and len(text) - len(re.sub(r"[^\x00-\x7f]", "", text)) < 0.02 * len(text)


def clean(data):
    """The text of one source file with Unix line ends, or None if it is not fit for training."""
    if not FILE_BYTES[0] <= len(data) <= FILE_BYTES[1]:
        return None
    try:
        text = data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None
    return text if reads_like_code(text) else None


def wanted(path):
    return path.endswith(".py") and not SKIPPED_FOLDERS & set(path.split("/")[:-1])


def stdlib_files(root):
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if wanted(name):
            yield name, path.read_bytes()


def check_stdlib(files, listing):
    """Keeps what stdlib.sha256 lists; a file that is missing or differs ends the run."""
    pinned = dict(reversed(line.split(maxsplit=1)) for line in listing.read_text().splitlines())
    found = {name: data for name, data in files if name in pinned}
    for name, digest in pinned.items():
        if name not in found:
            sys.exit(f"gather: standard library file {name} is missing; stdlib.sha256 is of CPython 3.11.7")
        if sha256(found[name]) != digest:
            sys.exit(f"gather: standard library file {name} differs from stdlib.sha256 (CPython 3.11.7)")
    return found.items()


def wheel_files(wheel, digest):
    data = wheel.read_bytes()
    if sha256(data) != digest:
        sys.exit(f"gather: {wheel.name}: SHA-256 is {sha256(data)}, packages.json says {digest}")
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if wanted(name):
                yield name, archive.read(name)


def download(folder):
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
                    "--only-binary=:all:", "--platform", "any", "--python-version", "3.11", "--implementation", "py",
                    "-r", str(MANIFEST / "requirements-data.txt"), "-d", str(folder)], check=True)


def select(package, files, seen):
    """Yields the records of one package: clean, not seen before, up to the limit in bytes."""
    total, limit = 0, STDLIB_BYTES if package == "cpython" else PACKAGE_BYTES
    for digest, name, data in sorted((sha256(data), name, data) for name, data in files):
        text = clean(data)
        if text is None or digest in seen or total + len(data) > limit:
            continue
        seen.add(digest)
        total += len(data)
        yield {"package": package, "path": name, "text": text}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for train.jsonl and heldout.jsonl")
    parser.add_argument("--wheels", type=Path, help="folder of wheels already downloaded")
    parser.add_argument("--list-stdlib", action="store_true", help="print the lines of stdlib.sha256 and stop")
    args = parser.parse_args()
    stdlib = stdlib_files(Path(sysconfig.get_paths()["stdlib"]))
    if args.list_stdlib:
        for name, data in stdlib:
            print(sha256(data), name)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    wheels = args.wheels or args.out / "wheels"
    if not args.wheels:
        download(wheels)
    packages = json.loads((MANIFEST / "packages.json").read_text())
    sources = [("cpython", "train", check_stdlib(stdlib, MANIFEST / "stdlib.sha256"))]
    sources += [(p["name"], p["split"], wheel_files(wheels / p["wheel"], p["sha256"])) for p in packages]
    seen, lines = set(), {"train": [], "heldout": []}
    for package, split, files in sources:
        records = list(select(package, files, seen))
        lines[split] += [json.dumps(record) for record in records]
        print(f"{package:16} {split:8} {len(records):5} files {sum(len(r['text']) for r in records):9} characters")
    for split, rows in lines.items():
        (args.out / f"{split}.jsonl").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
