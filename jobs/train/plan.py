"""Runs the experiments of a plan within a time, on one GPU or a CPU: train.py plan --dir DIR --plan plan.toml --seconds N

Needs DIR/export (the target), DIR/data and DIR/run/teach. Experiments run one after the other in one process, which keeps the target, the
rows, their taps and the judge's texts: two drafters side by side on one H100 took twice as long each. Every result is a line of
DIR/results.jsonl as soon as it is there, and with --out FOLDER it and drafters with `keep` are copied there. The same command goes on where
it stopped, within an experiment too. A process of its own does the work: an experiment that crashes it, or hangs, is noted as failed and
left out. --share i/N takes every N-th experiment: one process a GPU, each with a DIR of its own.
"""
import gc
import json
import os
import subprocess
import sys
import tarfile
import time
import tomllib
import traceback
from pathlib import Path
from types import SimpleNamespace

import torch

from learn import settings

FIELDS = {"name": str, "group": str, "seconds": int, "least": int, "base": list, "set": list, "best": list, "start": str,
          "keep": bool, "temperatures": list, "kinds": list}
GRACE = 100                    # seconds that an experiment may take beyond its own: taps, capturing, compiling, judging
SPARE = 40                     # seconds for all that where the experiment's own follow from the time that is left


def read(path):
    """The experiments of a plan, checked: their settings exist, and whatever they build on comes before them."""
    plan = tomllib.loads(Path(path).read_text())
    defaults, groups, names = {k: v for k, v in plan.items() if k != "experiment"}, set(), set()
    for number, given in enumerate(plan.get("experiment", [])):
        e = {"group": "", "set": [], "best": [], "start": "", "keep": False, "least": 0, **defaults, **given}
        e["base"], e["set"] = defaults.get("set", []), given.get("set", [])
        place = f"{path}: experiment {e.get('name', number)}"
        for field, kind in FIELDS.items():
            if not isinstance(e.get(field), kind):
                raise SystemExit(f"{place}: {field}: {e.get(field)!r}: should be a {kind.__name__}")
        unknown = [f for f in e if f not in FIELDS] + [g for g in e["best"] if g not in groups] + [e["name"]] * (e["name"] in names)
        if unknown:
            raise SystemExit(f"{place}: {unknown[0]!r}: no such field, no such group before it, or the second experiment of this name")
        settings.load(None, e["base"] + e["set"])
        groups.add(e["group"])
        names.add(e["name"])
        yield e


def results(folder):
    path = folder / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def winner(folder, group):
    """The settings of the group's experiment with the longest acceptance on code, greedy, loops left out; none where none has ended."""
    found = [r for r in results(folder) if r.get("group") == group and r["what"] == "acceptance" and r["temperature"] == 0]
    return max(found, key=lambda r: r["code"]["without_loops"])["set"] if found else []


def chosen(folder, e):
    """All settings of an experiment: the plan's, the winners' of the groups that it builds on, its own."""
    return e["base"] + [s for group in e["best"] for s in winner(folder, group)] + e["set"]


def started(folder, e, s):
    """The drafter to start from: `start` where it has the shape that the settings ask for, or fewer layers of it, or no in-block head yet; else none."""
    if not e["start"]:
        return None
    c = json.loads((folder / e["start"] / "config.json").read_text())
    same = c["intermediate_size"] == s.width and c["dflash_config"]["target_layer_ids"] == s.taps and c["num_hidden_layers"] <= s.layers
    return folder / e["start"] if same and c["dflash_config"].get("markov", 0) in (0, s.markov) else None


class Worker:
    def __init__(self, run):
        from judge.evaluate import Judge
        from learn.drafter import LONGEST_BLOCK, Rows, States
        from nets.hub import open_target
        self.run, self.target = run, open_target(run)
        self.states = States(self.target, Rows(run.folder / "run" / "teach", run.device, LONGEST_BLOCK))
        self.judge = Judge(run, self.target)

    def train(self, e, sets):
        from learn.drafter import Trainer
        chosen = settings.load(self.run.args.config, [*self.run.args.set, *sets])
        own = SimpleNamespace(branch=e["name"], start=started(self.run.folder, e, chosen.drafter), target=self.run.args.target)
        trainer = Trainer(SimpleNamespace(args=own, settings=chosen, folder=self.run.folder, device=self.run.device), self.states)
        trainer.run(e["seconds"] / 60, 1 << 60, fit=True)
        return trainer

    def do(self, e):
        """Trains and judges; one result a temperature and way to draw."""
        from nets.drafter import load_drafter
        sets = chosen(self.run.folder, e)
        trainer = self.train(e, sets)
        s, last, drafter = trainer.s, trainer.last, load_drafter(trainer.out, self.target)
        about = {"drafter": e["name"], "group": e["group"], "set": sets, "started": bool(trainer.started), "seconds": e["seconds"], "seed": s.seed, "loss": s.loss,
                 "optimizer": s.optimizer, "sequences": s.sequences, "blocks": s.blocks, "steps": trainer.step, "nats": last.get("nats"),
                 "steps_per_second": last.get("steps_per_second"), "note": self.run.args.note}
        for temperature in e["temperatures"]:
            for result in self.judge.judge(drafter, temperature, about, e["kinds"]):
                write(self.run.folder, result)
        if e["keep"] and self.run.args.out:
            with tarfile.open(self.run.args.out / f"dflash-{e['name']}.tar", "w") as tar:
                tar.add(trainer.out, f"dflash-{e['name']}")
        copy_out(self.run)


def write(folder, result):
    with open(folder / "results.jsonl", "a") as lines:
        lines.write(json.dumps(result) + "\n")
    print(json.dumps(result)[:400], flush=True)


def copy_out(run):
    for path in (run.folder / "results.jsonl", run.folder / "run" / "train.jsonl"):
        if run.args.out and path.exists():
            (run.args.out / path.name).write_bytes(path.read_bytes())


def granted(e, until):
    """The seconds of training that an experiment gets: its own, and with `least` what the time until the end has room for; 0: it must not begin."""
    left = until - time.time()
    seconds = min(e["seconds"], int(left - SPARE)) if e["least"] else e["seconds"]
    return seconds if (e["least"] or 1) <= seconds < left else 0


def pending(run):
    """Experiments of our share that have neither ended nor failed."""
    share, of = (int(n) for n in run.args.share.split("/"))
    done = {r.get("drafter") for r in results(run.folder) if r["what"] in ("acceptance", "experiment")}
    return [e for e in list(read(run.args.plan))[share::of] if e["name"] not in done]


def work(run):
    """The process that trains: it says in DIR/run/trying.json what it is at."""
    worker, trying = Worker(run), run.folder / "run" / "trying.json"
    for e in pending(run):
        e["seconds"] = granted(e, run.args.until)
        if not e["seconds"]:
            continue                       # a shorter one may still fit
        trying.write_text(json.dumps({"name": e["name"], "group": e["group"], "until": time.time() + e["seconds"] + GRACE}))
        worker.do(e)
        gc.collect()                       # a trainer and its graphs hold each other
        if run.device.type == "cuda":
            torch.cuda.empty_cache()
    trying.unlink(missing_ok=True)


def supervise(run):
    """Starts the worker, and again when it dies; the experiment that it was at has failed then."""
    trying, began, until = run.folder / "run" / "trying.json", time.time(), time.time() + run.args.seconds
    while any(granted(e, until) for e in pending(run)):
        trying.unlink(missing_ok=True)
        worker = subprocess.Popen([sys.executable, *sys.argv, "--until", str(until)], env={**os.environ, "SLIPSTREAM_PLAN_WORKER": "1"})
        while worker.poll() is None:
            time.sleep(0.2)
            at = json.loads(trying.read_text() or "{}") if trying.exists() else {}
            if time.time() > min(at.get("until", until), until) + 20:
                worker.kill()
                worker.wait()
        at = json.loads(trying.read_text() or "{}") if trying.exists() else {}
        if worker.returncode == 0:
            break
        if at and time.time() < until:     # ours was not the clock
            write(run.folder, {"what": "experiment", "drafter": at["name"], "group": at["group"], "failed": f"exit status {worker.returncode}"})
        elif not at:
            break                          # it cannot even begin
    copy_out(run)
    left = [e["name"] for e in pending(run)]
    print(f"plan: {time.time() - began:.0f} s; not done: {', '.join(left) or 'none'}", flush=True)
    return not left


def main(run):
    if run.args.plan is None:
        raise SystemExit("train: plan needs --plan")
    if run.args.out:
        run.args.out.mkdir(parents=True, exist_ok=True)
    if os.environ.get("SLIPSTREAM_PLAN_WORKER"):
        try:
            return work(run)
        except Exception:
            traceback.print_exc()
            copy_out(run)
            os._exit(1)                    # a device that failed may hang at exit
    return supervise(run)
