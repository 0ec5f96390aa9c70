"""Looks for the trade between likelihood and acceptance within a time: train.py codesign --dir DIR --plan codesign.toml --seconds N --out FOLDER

Needs DIR/export with its drafter, and DIR/data. Every variant of the plan is a run of `agree` for a few seconds, judged as `trade` judges; the one
whose drafts are accepted longest, among those that lose no more bits, loop no more and parse no less than the plan allows, then goes on as `final`
for the time that is left, `final` seconds at most. Each is a process of its own with a deadline: one that fails or hangs costs its own time only.
Results go to --out as they are made; so does the winner, before the final run begins, and what that one made: tar.xz in pieces of 15 MiB. Where
the plan says `each`, so does every variant as it ends. DIR/run/best says which of DIR/agree-NAME came out best.
"""
import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from learn import settings

SPARE = 20                     # seconds for packing and for what else may take longer in the last run than in those before
FIELDS = {"seconds": int, "final": int, "grace": int, "bits": float, "loops": float, "parse": float, "each": bool, "set": list, "variant": list}


def read(path):
    plan = tomllib.loads(Path(path).read_text())
    for field, kind in FIELDS.items():
        if not isinstance(plan.get(field), kind):
            raise SystemExit(f"{path}: {field}: {plan.get(field)!r}: should be a {kind.__name__}")
    for variant in plan["variant"]:
        if not isinstance(variant.get("name"), str) or not isinstance(variant.get("set"), list) or len(variant) > 2:
            raise SystemExit(f"{path}: variant: {variant}: should have a name and a set of settings")
        settings.load(None, plan["set"] + variant["set"])
    return plan


def trades(folder):
    """The last line of every run by its name; "" is the target before."""
    path = folder / "results.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {line["agree"]: line for line in lines if line["what"] == "trade"}


def winner(plan, found):
    """The variant whose drafts are accepted longest without loops, of those within the limits; where none is, the one that loses least."""
    tried = [v for v in plan["variant"] if v["name"] in found]

    def allowed(line, before):
        return line["T0"]["loops"] <= plan["loops"] and (before is None or (
            line["bits_per_byte"] <= before["bits_per_byte"] * (1 + plan["bits"]) and line["parse_rate"] >= before["parse_rate"] - plan["parse"]))

    within = [v for v in tried if allowed(found[v["name"]], found.get(""))]
    if within:
        return max(within, key=lambda v: found[v["name"]]["T0"]["without_loops"])
    return min(tried, key=lambda v: found[v["name"]]["bits_per_byte"], default=None)


class Search:
    def __init__(self, run):
        self.run, self.plan, self.until = run, read(run.args.plan), time.time() + run.args.seconds
        self.packing, self.beyond = [], 0.0

    def left(self):
        return self.until - time.time()

    def stage(self, limit, name, *arguments):
        """One stage of train.py with a deadline; our own settings come before those of `arguments`."""
        own = [a for text in [*self.run.args.set, *self.plan["set"]] for a in ("--set", text)]
        config = ["--config", str(self.run.args.config)] if self.run.args.config else []
        program = str(Path(__file__).with_name("train.py"))
        try:
            subprocess.run([sys.executable, program, name, "--dir", str(self.run.folder), *config, *own, *arguments], timeout=max(1, min(limit, self.left())))
        except subprocess.TimeoutExpired:
            print(f"codesign: {name} {' '.join(arguments)} was stopped at its deadline", flush=True)
        for path in (self.run.folder / "results.jsonl", self.run.folder / "run" / "train.jsonl"):
            if path.exists():
                (self.run.args.out / path.name).write_bytes(path.read_bytes())

    def agree(self, name, seconds, sets, limit, *more):
        """A run of `agree`; what it took beyond its seconds tells how much the last one may have."""
        began, chosen = time.time(), [a for text in sets for a in ("--set", text)]
        self.stage(limit, "agree", "--branch", name, *chosen, "--set", f"agree.minutes={seconds / 60}", *more)
        self.beyond = max(self.beyond, time.time() - began - seconds)

    def pack(self, name):
        """agree-NAME to --out, beside what goes on."""
        if (self.run.folder / f"agree-{name}").exists():
            command = 'tar c -C "$0" "agree-$1" | xz -T0 -1 | split -b 15m - "$2/agree-$1.tar.xz."'
            self.packing.append(subprocess.Popen(["bash", "-c", command, str(self.run.folder), name, str(self.run.args.out)]))

    def search(self):
        plan, seconds, grace = self.plan, self.plan["seconds"], self.plan["grace"]
        if "" not in trades(self.run.folder):
            self.stage(grace, "trade", "--temperature", "0", "1")
        for variant in plan["variant"]:
            if variant["name"] not in trades(self.run.folder) and self.left() > seconds + grace:
                self.agree(variant["name"], seconds, variant["set"], seconds + grace)
                if plan["each"]:
                    self.pack(variant["name"])
        best = winner(plan, trades(self.run.folder))
        if best:
            print(f"codesign: the best is {best['name']}", flush=True)
            if not plan["each"]:
                self.pack(best["name"])
            (self.run.folder / "run" / "best").write_text(best["name"])
            rest = min(plan["final"], self.left() - (self.beyond + SPARE if self.beyond else grace))
            start = self.run.folder / "run" / f"agree-{best['name']}.pt"
            if rest > seconds:
                self.agree("final", rest, best["set"], self.left() - 12, *(("--start", str(start)) if start.exists() else ()))
                self.pack("final")
                if "final" in trades(self.run.folder):
                    (self.run.folder / "run" / "best").write_text("final")
        for process in self.packing:
            process.wait(timeout=60)
        return best is not None


def main(run):
    if run.args.plan is None or run.args.out is None:
        raise SystemExit("train: codesign needs --plan and --out")
    run.args.out.mkdir(parents=True, exist_ok=True)
    return Search(run).search()
