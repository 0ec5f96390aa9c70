"""Writes the evaluation's prompts as lines for `slipstream batch`: DIR/requests-KIND.jsonl, at --temperature; greedy by default.

    mpirun -n 3 slipstream batch -m model.h5 -i DIR/requests-code.jsonl -o results.jsonl --sequences 1 --always-draft --json

What that prints as acceptance is the figure that counts: the engine's own.
"""
import json

from tokenizers import Tokenizer

from judge.evaluate import prompts_of


def main(run):
    s, temperature = run.settings.evaluate, run.args.temperature[0]
    tokenizer = Tokenizer.from_file(str(run.folder / "data" / "tokenizer.json"))
    for kind, prompts in prompts_of(run.folder / "data", tokenizer, s.prompts, s.prompt).items():
        with open(run.folder / f"requests-{kind}.jsonl", "w") as lines:
            for i, prompt in enumerate(prompts):
                body = {"prompt": prompt, "max_tokens": s.count, "temperature": temperature, "seed": i}
                lines.write(json.dumps({"custom_id": f"{kind}-{i}", "method": "POST", "url": "/v1/completions", "body": body}) + "\n")
        print(f"requests-{kind}.jsonl: {len(prompts)} lines")
    return True
