"""What is refused before anything is trained: by the file, the setting and its value, not by what a step would stumble over."""
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch

from learn import settings

ARGS = {"branch": None, "target": None, "start": None, "steps": 1, "minutes": 1e9, "fit": False}


def refused(make, wanted):
    try:
        make()
    except SystemExit as end:
        said = str(end)
    else:
        said = "nothing"
    if wanted not in said:
        raise SystemExit(f"check: refusals: {said!r} where {wanted!r} was to be said")


def refuse_others(make, run, path):
    """What the stage agree cannot go on from: `path` with a tensor of another shape, without a drafter, and no file at all."""
    saved = torch.load(path, weights_only=True)
    saved["drafter"]["fc.weight"] = saved["drafter"]["fc.weight"][:1]
    torch.save(saved, path.parent / "cut.pt")
    torch.save({"model": saved["model"]}, path.parent / "alone.pt")
    for name, wanted in (("cut", "fc.weight: (1, "), ("alone", "it has no drafter"), ("none", "No such file")):
        run.args.branch, run.args.start = name, path.parent / f"{name}.pt"
        refused(lambda: make(run), wanted)


def refusals():
    from judge.check import tiny_run
    from learn.drafter import Trainer as Drafters
    from learn.target import Trainer as Targets
    from nets.recover import recover
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tiny_run(folder)
        (folder / "bad.toml").write_text("[target")

        def trainer(kind, *sets, **args):
            chosen = settings.load(None, ["drafter.layers=1", "drafter.sequences=2", "drafter.blocks=3", "drafter.steps=3", *sets])
            return lambda: kind(SimpleNamespace(args=SimpleNamespace(**{**ARGS, **args}), settings=chosen, folder=folder, device=torch.device("cpu")))

        refused(lambda: settings.load(folder / "none.toml"), "none.toml: cannot be read: No such file")
        refused(lambda: settings.load(folder / "bad.toml"), "bad.toml: Expected ']'")
        refused(lambda: recover(folder / "none.h5", folder / "out"), "none.h5: there is no such file")
        refused(lambda: recover(folder / "bad.toml", folder / "out"), "bad.toml: should be a model")
        refused(trainer(Targets, "target.quantize=some"), "target.quantize: 'some': should be one of experts, all, none")
        refused(trainer(Targets, "target.shape.hiden=3"), "target.shape.hiden: no such setting")
        refused(trainer(Targets, "target.batch_tokens=512"), "target.batch_tokens: 512: should be a row of 1024")
        refused(trainer(Targets), "data/train.u16: missing; the stage tokenize writes it")
        for block in (1, 17):
            refused(trainer(Drafters, f"drafter.block={block}"), f"drafter.block: {block}: should be 2 to 16")
        for taps in ([], [0, 6], [2, 0], [0, 0]):
            refused(trainer(Drafters, f"drafter.taps={taps}"), f"drafter.taps: {taps}: should be layers of the target, 0 to 5")
        refused(trainer(Drafters, start=folder / "none"), "none: model.safetensors: missing")

        trainer(Drafters)().run(1e9, 1)
        refused(trainer(Drafters, "drafter.layers=2"), "run/drafter.pt: layers.1.")
        refused(trainer(Drafters, "drafter.block=4"), "run/drafter.pt: drafter.block: 8, and the settings say 4")
        refused(trainer(Drafters, "drafter.taps=[1, 2, 4, 5]"), "run/drafter.pt: drafter.taps: [0, 2, 4, 5], and")
        refused(trainer(Drafters, "drafter.seed=7"), "run/drafter.pt: drafter.seed: ")
        refused(trainer(Drafters, "drafter.optimizer=adamw"), "run/drafter.pt: drafter.optimizer: muon, and the settings say adamw")
        if trainer(Drafters)().step != 1 or trainer(Drafters, "drafter.block=4", branch="other")().step != 0:
            raise SystemExit("check: refusals: a drafter that may go on does not, or another begins where this one is")
