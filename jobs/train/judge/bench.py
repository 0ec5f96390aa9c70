"""Training speed of the target by way of launching and of computing experts; a JSON line each. Nothing is kept."""
import json
import time

import torch

from learn.target import Trainer

WAYS = ("eager", "graph")


def speed(run, way, scope, seconds=6):
    run.settings.target.launch = way
    trainer = Trainer(run)
    trainer.path = run.folder / "run" / "bench.pt"
    s, synchronize = trainer.s, torch.cuda.synchronize if run.device.type == "cuda" else lambda: None
    s.quantize_from = 0.0 if scope != "none" else 2.0
    began = time.time()
    trainer.one_step()
    synchronize()
    first, began, steps = time.time() - began, time.time(), 0
    while time.time() - began < seconds:
        trainer.one_step()
        steps += 1
        if steps % 10 == 0:
            synchronize()
    synchronize()
    return {"what": "speed", "way": trainer.launcher.way, "asked": way, "quantize": scope, "batch_tokens": s.batch_tokens,
            "experts": s.experts, "first_step_seconds": round(first, 1),
            "tokens_per_second": round(steps * s.batch_tokens / (time.time() - began)), "device": str(run.device),
            "card": torch.cuda.get_device_name() if run.device.type == "cuda" else "cpu"}


def main(run):
    if any((run.folder / "run").glob("target*.pt")):
        raise SystemExit(f"{run.folder}: bench: holds a checkpoint; use a folder of its own with DIR/data in it")
    with open(run.folder / "results.jsonl", "a", buffering=1) as results:
        for way in run.args.only or WAYS:
            for scope in ("none", "experts"):
                try:
                    line = json.dumps(speed(run, way, scope))
                except Exception as error:  # one way may not run here; the others are what is asked
                    line = json.dumps({"what": "speed", "asked": way, "quantize": scope, "failed": f"{type(error).__name__}: {error}"[:500]})
                results.write(line + "\n")
                print(line, flush=True)
                if run.device.type == "cuda":
                    torch.cuda.empty_cache()
    return True
