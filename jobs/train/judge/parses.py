"""Whether a piece of Python that simply ends somewhere is the beginning of a valid module.

parses(text): the incomplete last line is dropped; what is left must be accepted by ast.parse, as it is or after a
shortest ending that an unfinished statement is owed: closing an open triple-quoted string, open brackets, an empty block
(`pass`), a `try` without handlers, a decorator without its function. Nothing else is added and nothing but the last line
removed, so an error anywhere before the end counts as an error.
"""
import ast
import io
import tokenize
import warnings

CLOSING = {"(": ")", "[": "]", "{": "}"}


def accepted(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True


def closers(text):
    """The brackets still open at the end of text, closed innermost first."""
    stack = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.OP and token.string in CLOSING:
                stack.append(CLOSING[token.string])
            elif token.type == tokenize.OP and stack and token.string == stack[-1]:
                stack.pop()
    except (tokenize.TokenError, SyntaxError):
        pass
    return "".join(reversed(stack))


def indents(text):
    """Indentations of the lines of text, the latest first, each once."""
    widths = [len(line) - len(line.lstrip(" ")) for line in text.splitlines() if line.strip()]
    return list(dict.fromkeys(reversed(widths)))


def endings(text):
    """Candidates to append: an end of the open string, of the brackets, and of the block."""
    for quotes in ("", '"""', "'''"):
        closed = quotes + closers(text + quotes)
        base = text + closed if closed else text
        yield base
        for width in indents(text):
            pad = " " * width
            for tail in (f"{pad}    pass", f"{pad}except Exception:\n{pad}    pass", f"{pad}def f():\n{pad}    pass",
                         f"{pad}    pass\n{pad}except Exception:\n{pad}    pass"):
                yield f"{base}\n{tail}\n"
        last = " " * (indents(text)[0] + 4) if indents(text) else "    "
        yield f"{base}:\n{last}pass\n"


def parses(text):
    kept = text[:text.rfind("\n") + 1]
    return accepted(kept) or any(accepted(candidate) for candidate in endings(kept))
