"""The configuration of a run: train.toml beside train.py, overridden field by field. A name that train.toml lacks is refused."""
import tomllib
from pathlib import Path
from types import SimpleNamespace

DEFAULTS = Path(__file__).parent.parent / "train.toml"
OPEN = {"shape"}               # tables whose fields train.toml need not name


def merge(base, extra, source, place=""):
    for name, value in extra.items():
        if name not in base and place.rstrip(".").split(".")[-1] not in OPEN:
            raise SystemExit(f"{source}: {place}{name}: no such setting; train.toml names them all")
        if isinstance(value, dict) and isinstance(base.get(name), dict):
            merge(base[name], value, source, f"{place}{name}.")
        else:
            was = base.get(name, value)
            wanted = (int, float) if isinstance(was, float) else type(was)
            if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(was, bool):
                raise SystemExit(f"{source}: {place}{name}: {value!r}: should be like {was!r}")
            base[name] = value


def parse(text):
    """'target.muon_lr=0.01' -> {"target": {"muon_lr": 0.01}}; a value that is no TOML is a string."""
    name, equal, value = text.partition("=")
    if not equal:
        raise SystemExit(f"--set {text}: should be SECTION.FIELD=VALUE")
    try:
        return tomllib.loads(f"{name} = {value}")
    except tomllib.TOMLDecodeError:
        return tomllib.loads(f"{name} = '{value}'")


def namespace(table):
    return SimpleNamespace(**{k: namespace(v) if isinstance(v, dict) and k not in OPEN else v for k, v in table.items()})


def read(path):
    try:
        return tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise SystemExit(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SystemExit(f"{path}: {error}") from None


def load(path=None, sets=()):
    table = read(DEFAULTS)
    if path:
        merge(table, read(path), path)
    for text in sets:
        merge(table, parse(text), "--set")
    return namespace(table)
