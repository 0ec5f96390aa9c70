"""Writes the evaluation's prompts as lines for `slipstream batch`: DIR/requests-KIND-T<temperature>.jsonl, greedy by default.

    mpirun -n 2 slipstream batch -m model.h5 -i DIR/requests-code-T0.jsonl -o DIR/answers-code-T0.jsonl \\
        --sequences 1 --always-draft --json >DIR/engine-code-T0.json

What that prints as acceptance is the figure that counts: the engine's own. The stage answers puts it beside loops and parse rate.
"""
import json

from tokenizers import Tokenizer

from judge.evaluate import prompts_of


def main(run):
    s = run.settings.evaluate
    tokenizer = Tokenizer.from_file(str(run.folder / "data" / "tokenizer.json"))
    for kind, prompts in prompts_of(run.folder / "data", tokenizer, s.prompts, s.prompt).items():
        for temperature in run.args.temperature:
            path = run.folder / f"requests-{kind}-T{temperature:g}.jsonl"
            with open(path, "w") as lines:
                for i, prompt in enumerate(prompts):
                    body = {"prompt": prompt, "max_tokens": s.count, "temperature": temperature, "seed": i}
                    lines.write(json.dumps({"custom_id": f"{kind}-{i}", "method": "POST", "url": "/v1/completions", "body": body}) + "\n")
            print(f"{path.name}: {len(prompts)} lines")
    return True
