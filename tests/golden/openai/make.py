#!/usr/bin/env python3
"""fields.txt: the names that a body may have, by the types of OpenAI's own client.

    pip install openai && tests/golden/openai/make.py > tests/golden/openai/fields.txt
"""
import typing

import openai
from openai.types import completion_create_params as text
from openai.types.chat import completion_create_params as chat


def names(module):
    hints = set()
    for kind in ("CompletionCreateParamsBase", "CompletionCreateParamsNonStreaming", "CompletionCreateParamsStreaming"):
        hints |= set(typing.get_type_hints(getattr(module, kind)))
    return sorted(hints)


print(f"# openai {openai.__version__}")
for url, module in (("chat", chat), ("text", text)):
    for name in names(module):
        print(url, name)
