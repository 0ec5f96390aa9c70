#!/usr/bin/env python3
"""fields.txt: the names that a body may have; answers.txt: the members of an answer's objects, and what each may be. Both by the
types of OpenAI's own client.

    pip install openai && cd tests/golden/openai && ./make.py fields > fields.txt && ./make.py answers > answers.txt

A line of answers.txt is TYPE MEMBER required|optional KINDS, kinds being string, integer, number, boolean, null, "a literal", a type
of the file, or a list [KIND], with | between them.
"""
import sys
import types
import typing

import openai
import pydantic
from openai.types import Completion, completion_create_params as text
from openai.types.chat import ChatCompletion, completion_create_params as chat

WORDS = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", object: "any"}


def names(module):
    hints = set()
    for kind in ("CompletionCreateParamsBase", "CompletionCreateParamsNonStreaming", "CompletionCreateParamsStreaming"):
        hints |= set(typing.get_type_hints(getattr(module, kind)))
    return sorted(hints)


def kinds(hint, found):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return kinds(arguments[0], found)
    if origin is typing.Literal:
        return [f'"{word}"' for word in arguments]
    if origin in (typing.Union, types.UnionType):
        return [kind for one in arguments for kind in kinds(one, found)]
    if origin is list:
        return [f"[{kind}]" for kind in kinds(arguments[0], found)]
    if isinstance(hint, type) and issubclass(hint, pydantic.BaseModel):
        found.append(hint)
        return [name_of(hint)]
    return [WORDS.get(hint, "any")]


def name_of(model):
    """Chat's and text's choices are both called Choice."""
    return ("Text" if model.__module__.endswith("completion_choice") else "") + model.__name__


def rows(model, done):
    if model in done:
        return
    done.add(model)
    found = []
    for name, field in model.model_fields.items():
        must = "required" if field.is_required() else "optional"
        print(name_of(model), name, must, "|".join(dict.fromkeys(kinds(field.annotation, found))))
    for one in found:
        rows(one, done)


print(f"# openai {openai.__version__}")
if sys.argv[1:] == ["answers"]:
    done = set()
    rows(ChatCompletion, done)
    rows(Completion, done)
else:
    for url, module in (("chat", chat), ("text", text)):
        for name in names(module):
            print(url, name)
