"""depart: checkpoints of DIR/run into files that travel; arrive: the other way."""
from learn import state


def main(run):
    if run.args.travel is None:
        raise SystemExit(f"train: {run.stage} needs --travel")
    for name in run.args.only or ["target"]:
        path = run.folder / "run" / f"{name}.pt"
        if run.stage == "depart":
            state.travel(path, run.args.travel)
        else:
            state.arrive(run.args.travel, path)
    return True
