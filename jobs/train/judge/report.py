#!/usr/bin/env python3
"""Tables and plots from the result files of one or several runs (seeds): report.py --out FOLDER DIR [DIR ...]

Reads DIR/results.jsonl and DIR/train.jsonl (or DIR/run/train.jsonl), writes FOLDER/figures.md and FOLDER/*.svg. Same rows of several runs become a mean and, behind
it, half the distance of the largest from the smallest. Needs matplotlib.
"""
import argparse
import json
from collections import defaultdict
from pathlib import Path

KINDS = ("code", "prose", "chat")


def lines(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")] if path.exists() else []


def journal(folder):
    return lines(folder / "train.jsonl") or lines(folder / "run" / "train.jsonl")


def spread(values, digits=3):
    mean, half = sum(values) / len(values), (max(values) - min(values)) / 2
    return f"{mean:.{digits}f}" + (f" ± {half:.{digits}f}" if len(values) > 1 else "")


def table(heads, rows):
    if not rows:
        return ""
    text = ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    return "\n".join(text + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


def gathered(results, what, key):
    """{key(record): [records]} of one kind, in the order of first appearance."""
    groups = defaultdict(list)
    for record in results:
        if record["what"] == what and "failed" not in record:
            groups[key(record)].append(record)
    return groups


def bits_table(results):
    groups = gathered(results, "bits", lambda r: (r["checkpoint"], r["rounding"], r["activations"]))
    return table(["checkpoint", "rounded to MXFP4", "into the products", "tokens", "bits per byte"],
                 [[*key, f"{rs[0]['tokens']:,}", spread([r["bits_per_byte"] for r in rs], 4)] for key, rs in groups.items()])


def acceptance_table(results):
    """Of single drafters; the experiments of a plan have a table of their own, but for those on all kinds of text."""
    rows, results = [], [r for r in results if "group" not in r or "prose" in r]
    for key, rs in gathered(results, "acceptance", lambda r: (r["drafter"] or "main", r["block"], r["layers"],
                                                              " ".join(map(str, r["taps"])), r["temperature"],
                                                              r.get("draws", "arg max"))).items():
        for kind in KINDS:
            found = [r[kind] for r in rs if kind in r]
            if found:
                rows.append([*key, kind, found[0]["prompts"], spread([f["mean_acceptance_length"] for f in found], 2),
                             spread([f["without_loops"] for f in found], 2), spread([100 * f["loops"] for f in found], 0) + " %"])
    return table(["drafter", "block", "layers", "taps", "T", "drafts by", "text", "prompts", "acceptance length", "without loops", "loops"], rows)


def settings_of(record, *apart):
    """The settings of an experiment in a fixed order, the last of each name, those `apart` left out."""
    pairs = dict(s.split("=", 1) for s in record.get("set", []))
    return tuple(sorted((name, value) for name, value in pairs.items() if name not in apart))


def runs_of(greedy):
    """How many seeds a row is the mean of, and how many runs where one had a seed twice."""
    seeds = len({r["seed"] for r in greedy})
    return f"{seeds} ({len(greedy)} runs)" if len(greedy) > seeds else seeds


def experiments_table(results):
    """One row for each set of settings; those that differ by the seed alone make a mean and a spread."""
    rows = []
    experiments = [r for r in results if r["what"] == "acceptance" and "group" in r]
    for key, rs in gathered(experiments, "acceptance", lambda r: (settings_of(r, "drafter.seed"), r["seconds"], r["started"])).items():
        greedy = [r for r in rs if r["temperature"] == 0]
        found = lambda wanted, draws, field: spread([r["code"][field] for r in rs if "code" in r and r["temperature"] == wanted  # noqa: E731
                                                     and r.get("draws", "arg max") == draws] or [float("nan")], 2)
        said = ", ".join(f"{name.removeprefix('drafter.')} {value}" for name, value in key[0])
        rows.append([rs[0]["group"], rs[0]["drafter"], ", ".join([said] * bool(said) + ["continued"] * key[2]), runs_of(greedy), key[1],
                     spread([r["steps"] for r in greedy], 0), spread([r["steps_per_second"] or 0 for r in greedy], 1),
                     found(0, "arg max", "mean_acceptance_length"), found(0, "arg max", "without_loops"),
                     found(1, "arg max", "mean_acceptance_length"), found(1, "noise", "mean_acceptance_length")])
    return table(["group", "experiment", "settings", "seeds", "seconds", "steps", "steps/s", "greedy", "greedy without loops", "T 1", "T 1 by the noise"], rows)


def trade_table(results):
    """Target and drafter together: what each setting of agree lost and gained, the target before them first."""
    rows, settings = [], ("pull", "least", "most", "limit", "through", "quiet_from")
    for key, rs in gathered(results, "trade", lambda r: (r["agree"] or "before", *(r.get(n, "") for n in settings))).items():
        share = lambda found: spread([100 * f for f in found], 1) + " %"  # noqa: E731
        rows.append([*key, round(60 * rs[0].get("minutes", 0)), rs[0].get("step", 0), spread([r["bits_per_byte"] for r in rs], 4),
                     *(spread([r[t][n] for r in rs], 2) for t, n in (("T0", "mean_acceptance_length"), ("T0", "without_loops"), ("T1", "mean_acceptance_length"))),
                     share([r["T0"]["loops"] for r in rs]), share([r["parse_rate"] for r in rs])])
    return table(["agree", *(n.replace("_", " ") for n in settings), "seconds", "steps", "bits per byte", "greedy", "greedy without loops", "T 1 by the noise",
                  "loops", "parse"], rows)


def failed_table(results):
    return table(["experiment", "failed"], [[r["drafter"], r["failed"]] for r in results if r["what"] == "experiment"])


def parsing_table(results):
    found = [r["parsing"] for r in results if r["what"] == "acceptance" and "parsing" in r]
    return table(["continuations that parse", "the packages' own", "end in a loop"],
                 [[spread([100 * f[k] for f in found], 1) + " %" for k in ("parse_rate", "parse_rate_of_real_text", "loops")]]
                 if found else [])


def length_table(folders):
    """What each target took: one row a run."""
    rows = []
    for folder in folders:
        records = [r for r in journal(folder) if r["part"] == "target"]
        steps = [r for r in records if "nats" in r]
        if steps and "parameters" in records[0]:
            size, tokens = records[0]["parameters"], steps[-1]["tokens"]
            seconds = sum((r["tokens"] - before["tokens"]) / r["tokens_per_second"] for before, r in zip([{"tokens": 0}, *steps], steps))
            rows.append([f"{size:,}", f"{tokens:,}", f"{tokens / size:.1f}", f"{tokens / records[0]['corpus_tokens']:.2f}",
                         f"{seconds:.0f}", f"{steps[-1]['nats']:.3f}"])
    return table(["parameters", "tokens", "tokens a parameter", "passes over the text", "seconds", "nats a token at the end"], rows)


def unloop_table(folders):
    rows = [[r["round"], f"{100 * r['loops']:.1f} %", f"{100 * r['tokens_in_loops']:.1f} %"] for folder in folders
            for r in journal(folder) if r["part"] == "unloop" and "loops" in r]
    return table(["round", "continuations of 128 tokens that end in a loop", "tokens in loops"], rows)


def speed_table(results):
    groups = gathered(results, "speed", lambda r: (r["card"], r["way"], r["experts"], r["quantize"], r["batch_tokens"]))
    return table(["card", "launching", "experts", "quantised", "tokens a step", "tokens/s", "first step, s"],
                 [[*key, spread([r["tokens_per_second"] for r in rs], 0), spread([r["first_step_seconds"] for r in rs], 1)]
                  for key, rs in groups.items()])


def engine_table(results):
    rows = []
    for name, found in gathered(results, "answers", lambda r: r["name"]).items():
        histogram = [sum(column) for column in zip(*(r["acceptance_histogram"] for r in found))]
        rows.append([name, found[0]["answered"], spread([r["mean_acceptance_length"] for r in found], 2),
                     spread([r["without_loops"] for r in found], 2), spread([100 * r["loops"] for r in found], 1) + " %",
                     spread([100 * r["parse_rate"] for r in found], 1) + " %" if "parse_rate" in found[0] else "",
                     " ".join(map(str, histogram))])
    return table(["text", "requests", "acceptance length", "without loops", "end in a loop", "parse", "steps that accepted 0, 1, ... drafts"], rows)


def plot(path, title, across, up, series, scale="linear"):
    """series: {name: (xs, ys)}."""
    import matplotlib
    matplotlib.use("svg")
    import matplotlib.pyplot as pyplot
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "slipstream"})
    figure, axes = pyplot.subplots(figsize=(7, 4))
    axes.set_prop_cycle(color=matplotlib.colormaps["tab10" if len(series) <= 10 else "tab20"].colors)
    for name, (xs, ys) in series.items():
        axes.plot(xs, ys, label=name, marker="o" if len(xs) < 20 else None, markersize=4, linewidth=1.2)
    axes.set(title=title, xlabel=across, ylabel=up, xscale=scale)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=1 if len(series) <= 10 else 2)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def curves(folders, wanted):
    """{part: (x, nats)} from the journals of the first folder that has them."""
    found = {}
    for folder in folders[:1]:
        for record in journal(folder):
            if "nats" in record and record["part"].startswith(wanted) and "step" in record:
                xs, ys = found.setdefault(record["part"], ([], []))
                xs.append(record["tokens"] / 1e6 if "tokens" in record else record["step"])
                ys.append(record["nats"])
    return found


def plots(folders, results, out):
    made = []
    for name, wanted, across, scale in (("target", "target", "million tokens", "linear"), ("drafters", "drafter", "steps", "log")):
        series = curves(folders, wanted)
        if series:
            plot(out / f"loss-{name}.svg", f"Loss of the {name}", across, "nats a token", series, scale)
            made.append((f"loss-{name}.svg", f"loss of the {name}"))
    survival, by_block = {}, defaultdict(lambda: ([], []))
    but_block = lambda r: (settings_of(r, "drafter.block", "drafter.seed"), r.get("seconds"), r.get("started"))  # noqa: E731
    alike = {but_block(r) for r in results if r.get("group") == "block"}
    noisy = {r["temperature"] for r in results if r.get("draws") == "noise"}      # above 0 the engine draws by the noise
    for r in results:
        if r["what"] != "acceptance":
            continue
        how = f"T {r['temperature']}" + ", by the noise" * (r.get("draws") == "noise")
        for kind in KINDS:
            if kind in r and r["drafter"] in ("", "main") and (r["temperature"] not in noisy or r.get("draws") == "noise"):
                share = r[kind]["survival"]
                survival[f"{kind}, {how}"] = (list(range(1, len(share) + 1)), share)
        if "code" in r and r["drafter"] and but_block(r) in alike:
            of = how + ", after agree" * r["drafter"].endswith(", after agree")     # another target: a line of its own
            by_block[of][0].append(r["block"])
            by_block[of][1].append(r["code"]["mean_acceptance_length"])
    if survival:
        plot(out / "survival.svg", "Share of blocks that agree up to a position", "position in the block", "share", survival)
        made.append(("survival.svg", "share of blocks that agree up to a position"))
    if by_block:
        by_block = {k: tuple(zip(*sorted(zip(*v)))) for k, v in by_block.items()}
        plot(out / "blocks.svg", "Acceptance by block size, code", "block", "acceptance length", by_block)
        made.append(("blocks.svg", "acceptance by block size"))
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--title", default="What training brings")
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR")
    args = parser.parse_args()
    results = [record for folder in args.folders for record in lines(folder / "results.jsonl")]
    args.out.mkdir(parents=True, exist_ok=True)
    made = plots(args.folders, results, args.out)
    tables = {"Length of the target": length_table(args.folders), "Loops taken out": unloop_table(args.folders),
              "Bits per byte": bits_table(results), "Acceptance, in PyTorch": acceptance_table(results), "Experiments on drafters": experiments_table(results),
              "Target and drafter together": trade_table(results), "Experiments that failed": failed_table(results),
              "Answers of the engine": engine_table(results), "Python that parses": parsing_table(results),
              "Speed of training": speed_table(results)}
    text = [f"# {args.title}", f"Made by `jobs/train/judge/report.py` from {len(args.folders)} run(s), {len(results)} results.",
            *(f"## {name}\n\n{found}" for name, found in tables.items() if found), *(f"![{words}]({name})" for name, words in made)]
    (args.out / "figures.md").write_text("\n\n".join(part.rstrip() for part in text) + "\n")


if __name__ == "__main__":
    main()
