#!/usr/bin/env python3
"""The stages of training: train.py STAGE --dir DIR [--config FILE] [--set SECTION.FIELD=VALUE ...]

    gather       downloads and checks the text                      DIR/data/{train,heldout}.jsonl
    tokenize     trains the tokenizer, if none is there, and encodes the text          DIR/data/{tokenizer.json,train.u16,heldout.u16}
    pack         compresses what training needs into files that travel; unpack: the other way
    target       trains the target                                  DIR/run/target.pt
    unloop       teaches it not to repeat itself                    DIR/run/target.pt
    export       writes it as a Hugging Face folder                 DIR/export
    recover      writes a model file of slipstream convert as such a folder, with its drafter   DIR/export, DIR/export/dflash
    teach        lets it write the drafter's text                   DIR/run/teach
    drafter      trains the drafter                                 DIR/export/dflash
    agree        goes on with target and drafter together           DIR/agree, DIR/agree/dflash
    trade        bits per byte and acceptance of DIR/export or of what agree made   DIR/results.jsonl
    codesign     looks for the best of several settings of agree, within a time   DIR/agree-final
    plan         experiments on drafters, by a file, within a time    DIR/results.jsonl
    evaluate     parse rate, loops and acceptance of the export     DIR/results.jsonl
    requests     the evaluation's prompts as lines for slipstream batch   DIR/requests-*.jsonl
    answers      what the engine made of them: acceptance, loops, parsing   DIR/results.jsonl
    bits         bits per byte of every checkpoint and rounding     DIR/results.jsonl
    bench        training speed, by way of launching                DIR/results.jsonl
    check        compares what must be equal, on small inputs
    depart       cuts checkpoints into files that travel; arrive: the other way
    all          every stage from gather to evaluate that has not been done

On several GPUs: torchrun --nproc-per-node N train.py STAGE ... for target and drafter. Every stage keeps what it has done and
continues from there; --minutes stops it in time. DIR/run/train.jsonl gets the curves. All settings: train.toml.
"""
import argparse
import importlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace

STAGES = {"gather": "data.gather", "tokenize": "data.tokenizer", "pack": "data.pack", "unpack": "data.pack",
          "target": "learn.target", "unloop": "learn.unloop", "export": "nets.export", "recover": "nets.recover", "teach": "learn.teach",
          "drafter": "learn.drafter", "evaluate": "judge.evaluate", "bits": "judge.bits", "requests": "judge.requests", "answers": "judge.answers",
          "bench": "judge.bench", "plan": "plan", "agree": "learn.agree", "trade": "judge.trade", "codesign": "codesign",
          "depart": "learn.travel", "arrive": "learn.travel", "check": "judge.check"}
ALL = ("gather", "tokenize", "target", "unloop", "export", "teach", "drafter", "evaluate", "bits")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=[*STAGES, "all"], metavar="STAGE")
    parser.add_argument("--dir", type=Path, required=True, help="folder of the whole run")
    parser.add_argument("--config", type=Path, help="TOML file that overrides train.toml")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.FIELD=VALUE", help="overrides both")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this time; the same command continues")
    parser.add_argument("--fit", action="store_true", help="drafter: as many steps as --minutes has room for, whatever drafter.steps says")
    parser.add_argument("--start", type=Path, help="drafter: an exported drafter to go on from, where there is no checkpoint yet; agree: a checkpoint of another branch")
    parser.add_argument("--steps", type=int, default=1 << 60, help="stop after so many steps, for a trial")
    parser.add_argument("--branch", help="target: continue from the trunk under this name; drafter, agree, trade: a variant by this name")
    parser.add_argument("--target", help="teach, drafter, evaluate: a Hugging Face folder in place of DIR/export")
    parser.add_argument("--model", type=Path, help="recover: the model file")
    parser.add_argument("--responses", type=Path, nargs="*", help="teach: results of slipstream batch in place of own text")
    parser.add_argument("--travel", type=Path, help="pack, unpack, depart, arrive: the folder of the files that travel")
    parser.add_argument("--only", nargs="*", help="depart, arrive: names of checkpoints; bench: ways")
    parser.add_argument("--temperature", type=float, nargs="*", default=[0.0], help="evaluate, requests, trade: of the continuations")
    parser.add_argument("--plan", type=Path, help="plan, codesign: the file of their experiments")
    parser.add_argument("--seconds", type=float, default=1e9, help="plan, codesign: begin nothing that would not end within this time")
    parser.add_argument("--share", default="0/1", metavar="i/N", help="plan: every N-th experiment, from the i-th on, counted from 0; pack: every N-th training file")
    parser.add_argument("--out", type=Path, help="plan, codesign: copy results and what is kept to this folder as it is made")
    parser.add_argument("--until", type=float, default=1e18, help=argparse.SUPPRESS)
    parser.add_argument("--note", default="", help="evaluate, bits, agree, trade: goes into the result")
    return parser.parse_args()


def main():
    from learn import parallel, settings
    args = parse()
    run = SimpleNamespace(args=args, settings=settings.load(args.config, args.set), folder=args.dir, device=None)
    for name in ("data", "run"):
        (args.dir / name).mkdir(parents=True, exist_ok=True)
    stages = ALL if args.stage == "all" else (args.stage,)
    for stage in stages:
        module = importlib.import_module(STAGES[stage])
        if args.stage == "all" and getattr(module, "done", lambda run: False)(run):
            continue
        if run.device is None and not STAGES[stage].startswith("data.") and stage != "codesign" and (
                stage != "plan" or os.environ.get("SLIPSTREAM_PLAN_WORKER")):
            run.device = parallel.start()
        run.stage = stage
        if module.main(run) is False and args.stage == "all":
            sys.exit(f"train: {stage} is not finished; the same command continues")


if __name__ == "__main__":
    # glibc returns large blocks to the system after every use; keeping them saves a quarter of a step on a CPU.
    if os.environ.get("MALLOC_TOP_PAD_") is None:
        kept = {"MALLOC_MMAP_THRESHOLD_": "17179869184", "MALLOC_TRIM_THRESHOLD_": "17179869184", "MALLOC_TOP_PAD_": "268435456"}
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **kept})
    main()
