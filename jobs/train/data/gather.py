#!/usr/bin/env python3
"""Gathers the training text: CPython's standard library and the packages of manifest/packages.json.

Writes DIR/train.jsonl and DIR/heldout.jsonl, one source file a line: {"package", "path", "text"}, and the held-out packages'
descriptions as DIR/prose.jsonl. Nothing is taken
that does not match its pinned SHA-256: the wheels by pip's own --require-hashes and by packages.json, the standard
library file by file by stdlib.sha256 (made from CPython 3.11.7, the version to run this with). Packages whose split is
"heldout" are seen by neither the tokenizer, the target nor the drafter, and a training file is dropped whole if it shares
SHINGLE consecutive lines of code with a held-out file or with this repository's tests and examples. Comments at the head of
a file that state its licence are left off.
"""
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
PACKAGE_BYTES = 5_000_000     # no package may dominate: at most this much of each, files in the order of their hash
STDLIB_BYTES = 12_000_000
FILE_BYTES = (200, 200_000)
SHINGLE = 6                   # lines, blank ones and comments not counted, of together at least SHINGLE_BYTES
SHINGLE_BYTES = 120
REPOSITORY = Path(__file__).resolve().parents[3]


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
    text = without_licence(text)
    return text if reads_like_code(text) else None


def without_licence(text):
    """Without the block of comments that a file begins with, where that speaks of licence or copyright."""
    head = re.match(r"(?:#[^\n]*\n|[ \t]*\n)+", text)
    return text[head.end():] if head and re.search(r"licen[cs]e|copyright", head.group(), re.I) else text


def shingles(text):
    """Hashes of every run of SHINGLE lines of code."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    runs = ("\n".join(lines[i:i + SHINGLE]) for i in range(len(lines) - SHINGLE + 1))
    return {hashlib.blake2b(run.encode(), digest_size=8).digest() for run in runs if len(run) >= SHINGLE_BYTES}


def repository_shingles():
    """Of every text that the repository tests or demonstrates with."""
    found = set()
    for folder in ("tests", "jobs/demo"):
        for path in (REPOSITORY / folder).rglob("*"):
            if path.suffix in {".txt", ".py", ".sh", ".jsonl", ".json"} and path.stat().st_size < 2_000_000:
                text = path.read_text(errors="replace")
                found |= shingles(text.replace("\\n", "\n"))       # prompts inside JSON and scripts
    return found


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


def description(wheel):
    """A package's own description of itself: prose, to measure with."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return archive.read(name).decode("utf-8", "replace").partition("\n\n")[2]


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def select(package, files, seen, forbidden):
    """Yields the records of one package: clean, not seen before, nothing forbidden in them, up to the limit in bytes."""
    total, limit = 0, STDLIB_BYTES if package == "cpython" else PACKAGE_BYTES
    for digest, name, data in sorted((sha256(data), name, data) for name, data in files):
        text = clean(data)
        if text is None or digest in seen or total + len(text) > limit or forbidden and shingles(text) & forbidden:
            continue
        seen.add(digest)
        total += len(text)
        yield {"package": package, "path": name, "text": text}


def done(run):
    return (run.folder / "data" / "train.jsonl").exists()


def main(run):
    gather(run.folder / "data")


def gather(out, wheels=None):
    stdlib = stdlib_files(Path(sysconfig.get_paths()["stdlib"]))
    if wheels is None:
        wheels = out / "wheels"
        download(wheels)
    packages = json.loads((MANIFEST / "packages.json").read_text())
    sources = [("cpython", "train", check_stdlib(stdlib, MANIFEST / "stdlib.sha256"))]
    sources += [(p["name"], p["split"], wheel_files(wheels / p["wheel"], p["sha256"])) for p in packages]
    seen, lines, forbidden = set(), {"train": [], "heldout": []}, repository_shingles()
    for package, split, files in sorted(sources, key=lambda source: source[1]):      # what is held out comes first
        records = list(select(package, files, seen, forbidden if split == "train" else None))
        if split == "heldout":
            forbidden |= set().union(*(shingles(r["text"]) for r in records))
        lines[split] += records
        print(f"{package:16} {split:8} {len(records):5} files {sum(len(r['text']) for r in records):9} characters")
    for split, records in lines.items():
        write(out / f"{split}.jsonl", records)
    write(out / "prose.jsonl", [{"package": p["name"], "path": "METADATA", "text": description(wheels / p["wheel"])}
                                for p in packages if p["split"] == "heldout"])



if __name__ == "__main__":     # the lines of stdlib.sha256
    for file, content in stdlib_files(Path(sysconfig.get_paths()["stdlib"])):
        print(sha256(content), file)
