#!/usr/bin/env python3
"""Writes the manifest from a folder of wheels: what was downloaded, its SHA-256 and its licence.

    python pin.py --wheels DIR [--heldout NAME ...]

A wheel enters only if its own metadata names a licence of PERMITTED (its License-Expression, or else its classifiers and License
field) and it has code for training. What is left out is printed with the reason. This is how the manifest was made; nothing
else needs it.
"""
import argparse
import json
import re
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

from gather import MANIFEST, sha256, wanted

PERMITTED = {"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "PSF-2.0", "ISC", "0BSD", "MIT-0", "MIT-CMU", "HPND"}
SPELLINGS = [(r"apache", "Apache-2.0"), (r"\bmit\b", "MIT"), (r"bsd.?2|2.clause|simplified bsd", "BSD-2-Clause"),
             (r"\bbsd\b", "BSD-3-Clause"), (r"\bisc\b", "ISC"), (r"python software foundation|psf", "PSF-2.0")]
FORBIDDEN = re.compile(r"\b(gpl|agpl|lgpl|gnu|mozilla|mpl|eupl|cddl|proprietary|sspl|busl|elastic|commercial)\b", re.I)
LEAST = 100_000                # bytes of code


def licence(metadata):
    """The SPDX name, or None: not permitted, or not said."""
    expression = metadata.get("License-Expression")
    if expression:
        names = re.split(r"\s+(?:AND|OR)\s+|[()]", expression)
        return expression if all(n.strip() in PERMITTED for n in names if n.strip()) else None
    said = " ".join([*(c for c in metadata.get_all("Classifier", []) if c.startswith("License")),
                     metadata.get("License", "").split("\n")[0]])
    if FORBIDDEN.search(said):
        return None
    return next((name for pattern, name in SPELLINGS if re.search(pattern, said, re.I)), None)


def describe(wheel):
    """The manifest's line of one wheel, or the reason why it has none."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = HeaderParser().parsestr(archive.read(next(
            n for n in names if n.endswith(".dist-info/METADATA"))).decode("utf-8", "replace"))
        code = sum(archive.getinfo(n).file_size for n in names if wanted(n))
    known = licence(metadata)
    if known is None:
        return f"licence {metadata.get('License-Expression') or (metadata.get('License') or 'not said')[:40]!r}"
    if code < LEAST:
        return f"{code} bytes of code"
    return {"name": metadata["Name"], "version": metadata["Version"], "wheel": wheel.name,
            "sha256": sha256(wheel.read_bytes()), "licence": known}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, required=True)
    parser.add_argument("--heldout", nargs="*", default=[], help="packages kept from training")
    args = parser.parse_args()
    entries = []
    for wheel in sorted(args.wheels.glob("*.whl"), key=lambda p: p.name.lower()):
        entry = describe(wheel)
        if isinstance(entry, str):
            print(f"{wheel.name}: left out: {entry}", file=sys.stderr)
            continue
        entries.append({**entry, "split": "heldout" if entry["name"] in args.heldout else "train"})
    missing = set(args.heldout) - {e["name"] for e in entries}
    if missing:
        sys.exit(f"pin: held-out packages {sorted(missing)} are not among the wheels")
    (MANIFEST / "packages.json").write_text("[\n" + ",\n".join("  " + json.dumps(e) for e in entries) + "\n]\n")
    (MANIFEST / "requirements-data.txt").write_text(
        "".join(f"{e['name']}=={e['version']} --hash=sha256:{e['sha256']}\n" for e in entries))


if __name__ == "__main__":
    main()
