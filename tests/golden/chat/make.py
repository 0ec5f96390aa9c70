#!/usr/bin/env python3
"""conversations.jsonl.gz: bodies of random chat requests, and the SHA-256 of the prompt that a template makes of each.

    pip install transformers jinja2 && tests/golden/chat/make.py            # writes conversations.jsonl.gz
    tests/golden/chat/make.py --show N                                      # prints the prompt of line N
    tests/golden/chat/make.py --published NAME FILE [N]                     # the same for NAME.jsonl.gz

Rendered by transformers' own render_jinja_template() from the .jinja files beside this one, or from FILE, a published text that is not
kept here. A line is {"template": NAME, "body": {...}, "sha256": the first 16 digits}; a published text's lines have its own SHA-256 too,
"text_sha256".
"""
import copy
import gzip
import hashlib
import json
import pathlib
import random
import sys

from transformers.utils.chat_template_utils import render_jinja_template

HERE = pathlib.Path(__file__).parent
COUNT, PUBLISHED_COUNT = 3000, 1500
TEXTS = ["", " ", "hi", "Weather?\n", "caf\u00e9 \U0001f642", "a\tb \\ \"c\" 'd'", "<think>", "</think>", "<think>x</think>y",
         "z<think>x</think>y</think>w", "<|im_end|>", "<tool_call>", "{{ x }} {% y %}", "\u2028\u00a0", "1", "& < >", "  trailing  ", "\u0001"]
NAMES = ["city", "days", "x_1", "\u00e9t\u00e9", "with space"]
NUMBERS = [0, 1, -7, 2**53, 0.1, -0.0, 1e-7, 1e16, 123456789.125, 5.0, 1.5e300]


def value(r, depth=0):
    kinds = [lambda: r.choice(TEXTS), lambda: r.choice(NUMBERS), lambda: r.choice([True, False, None])]
    if depth < 2:
        kinds += [lambda: [value(r, depth + 1) for _ in range(r.randrange(3))], lambda: members(r, depth + 1)]
    return r.choice(kinds)()


def members(r, depth=0):
    return {name: value(r, depth) for name in r.sample(NAMES, r.randrange(4))}


def content(r):
    text = [r.choice(TEXTS) for _ in range(r.randrange(1, 4))]
    return [{"type": "text", "text": t} for t in text] if r.random() < 0.2 else "".join(text)


def schema(r):
    made = {}
    if r.random() < 0.9:
        made["type"] = r.choice(["string", "integer", "boolean", ["string", "null"], ["number", "integer"]])
    if r.random() < 0.5:
        made["description"] = r.choice(TEXTS)
    if r.random() < 0.3:
        made["enum"] = [value(r, 1) for _ in range(r.randrange(3))]
    if r.random() < 0.3:
        made["default"] = value(r, 1)
    return made


def tool(r, number):
    function = {"name": f"tool_{number}"}
    if r.random() < 0.7:
        function["description"] = r.choice(TEXTS)
    if r.random() < 0.8:
        function["parameters"] = {"type": "object", "properties": {n: schema(r) for n in r.sample(NAMES, r.randrange(4))}}
        if r.random() < 0.5:
            function["parameters"]["required"] = r.sample(NAMES, r.randrange(3))
        if r.random() < 0.3:
            function["parameters"]["additionalProperties"] = False
    if r.random() < 0.2:
        function["strict"] = True
    return {"type": "function", "function": function}


def assistant(r, last):
    message = {"role": "assistant", "content": content(r)}
    if r.random() < 0.4:
        message["reasoning_content"] = r.choice(TEXTS)
    if r.random() < 0.4 and not last:
        if r.random() < 0.5:
            message["content"] = None
        message["tool_calls"] = [{"id": str(i), "type": "function", "function": {"name": f"tool_{i}", "arguments": members(r)}}
                                 for i in range(r.randrange(1, 3))]
    return message


def conversation(r):
    messages = [{"role": r.choice(["system", "developer"]), "content": content(r)}] if r.random() < 0.4 else []
    messages.append({"role": "user", "content": content(r)})
    for _ in range(r.randrange(4)):
        messages.append(assistant(r, False))
        messages += [{"role": "tool", "tool_call_id": "0", "content": content(r)} for _ in range(r.randrange(3))]
        if r.random() < 0.7:
            messages.append({"role": r.choice(["user", "user", "user", "system"]), "content": content(r)})
    return messages


def body(r):
    made = {"messages": conversation(r)}
    if r.random() < 0.4:
        made["tools"] = [tool(r, i) for i in range(r.randrange(3))]
    if r.random() < 0.5:
        made["chat_template_kwargs"] = {"enable_thinking": r.random() < 0.5}
    ending = r.random()
    if ending < 0.15:
        made["add_generation_prompt"] = False
    elif ending < 0.3:
        # transformers looks for the final content in the prompt, which only a plain one is sure to be found in.
        made["messages"].append({"role": "assistant", "content": r.choice(["Sure", " The answer: ", "caf\u00e9\n"])})
        made["continue_final_message"] = True
    return made


def as_template_sees(made):
    """What a server hands to the template: the developer's role under its older name, and "" for a content that is null."""
    messages = copy.deepcopy(made["messages"])
    for message in messages:
        message["role"] = {"developer": "system"}.get(message["role"], message["role"])
        message["content"] = "" if message["content"] is None else message["content"]
    return messages


def prompt(template, made):
    continues = made.get("continue_final_message", False)
    rendered, _ = render_jinja_template(
        conversations=[as_template_sees(made)], tools=made.get("tools"), chat_template=template, continue_final_message=continues,
        add_generation_prompt=made.get("add_generation_prompt", not continues), **made.get("chat_template_kwargs", {}))
    return rendered[0]


def as_client_sends(r, made):
    """Arguments as the text of JSON, as OpenAI's clients have them; some servers take the object too."""
    for message in made["messages"]:
        for call in message.get("tool_calls", []):
            if r.random() < 0.7:
                call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
    return made


def lines(templates, count, more):
    r = random.Random(17)
    for _ in range(count):
        name, made = r.choice(sorted(templates)), body(r)
        text = prompt(templates[name], made)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        yield text, {"template": name, "body": as_client_sends(r, made), "sha256": digest, **more}


if __name__ == "__main__":
    arguments, target, more = sys.argv[1:], "conversations", {}
    if arguments[:1] == ["--published"]:
        target, text = arguments[1], pathlib.Path(arguments[2]).read_text()
        templates, count, arguments = {target: text}, PUBLISHED_COUNT, arguments[2:]
        more = {"text_sha256": hashlib.sha256(text.encode()).hexdigest()}
    else:
        templates, count = {name: (HERE / f"{name}.jinja").read_text() for name in ("mimo-v2.5", "mimo-v2-flash")}, COUNT
    made = list(lines(templates, count, more))
    if len(arguments) > 1:
        text, line = made[int(arguments[1]) - 1]
        print(json.dumps(line, ensure_ascii=False), text, sep="\n")
        sys.exit()
    with open(HERE / f"{target}.jsonl.gz", "wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as file:
        for _, line in made:
            file.write((json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n").encode())
