"""Check of a `torch.export` archive before PyTorch loads it: it may hold tensors and arithmetic only.

`torch.export.load` runs code that an archive names: it unpickles weights, constants and sample inputs, evaluates
expressions of sizes with sympy, builds guards with `exec` and imports enums by name. CVE-2026-4538 names the loader up
to PyTorch 2.10.0; 2.13.0 still does all of this (tests/models/test_export_check.py proves three). So a newer PyTorch
is no answer by itself. An archive passes here only if it holds nothing but what `save_model` writes, and every text in
it has a form from which no code can be made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import IO, Any

from notifybot.errors import CheckpointError, reader_text

_RECORD = re.compile(
    r"data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)|"
    r"data/sample_inputs/model\.pt|models/model\.json|archive_format|archive_version|\.data/version|byteorder|"
    r"\.data/serialization_id"
)
_NAME = re.compile(r"[\w.\-]*")
_TEXT = re.compile(r"[\w.,:+<>\- ]*")  # an operator's text argument, as an einsum's equation: no quote, no bracket
_ARITHMETIC = r"\d+(\.\d+)?|[<>=!]=|[-+*/%(), <>]"
_FUNCTION = (
    r"(Symbol|Integer|Float|Rational|Add|Mul|Pow|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|IntTrueDiv|FloatTrueDiv|"
    r"ModularIndexing|Min|Max|Where|ToFloat|TruncToInt|CeilToInt|FloorToInt|RoundToInt|PowByNatural|Identity|"
    r"Eq|Ne|Lt|Le|Gt|Ge|And|Or|Not)(?=\()"
)
_SYMBOL = r"'[a-z]+\d+'|(positive|integer|nonnegative|real)=True"
_INPUT_SIZE = r"L(\['\w+'\]|\[\d+\])+\.size\(\)\[\d+\]"
_IN_EXPRESSION = re.compile(f"{_FUNCTION}|{_SYMBOL}|{_ARITHMETIC}")
_IN_GUARD = re.compile(rf"{_INPUT_SIZE}|{_FUNCTION}|(and|or|not)\b|{_ARITHMETIC}")
_OPERATOR = re.compile(
    r"torch\.ops\.aten\.(?!from_file)\w+(\.\w+)?|torch\.sym_\w+|math\.(ceil|floor|trunc|sqrt)|"
    r"torch\.ops\.higher_order\.(cond|while_loop|scan|map_impl|wrap_with_set_grad_enabled|wrap_with_autocast)|"
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|getitem|and_|or_|not_)"
)
_CONTAINER = re.compile(r"builtins\.(tuple|list|dict)|collections\.OrderedDict|transformers\.[\w.]+Output\w*")
_MOST_CHARACTERS = 4000


def check_archive(file: IO[bytes]) -> None:
    """Raise CheckpointError unless the archive holds tensors and arithmetic alone, in the form we write."""
    from torch.export.pt2_archive import PT2ArchiveReader

    archive = PT2ArchiveReader(file)  # PyTorch's own reader: another might see other content
    names = archive.get_file_names()
    foreign = [name for name in names if not _RECORD.fullmatch(name)]
    if foreign or len(set(names)) != len(names):
        shown = ", ".join(sorted(foreign)[:3])
        raise CheckpointError(reader_text("models.export_check.unknown_content", shown=shown))
    if archive.read_bytes("data/sample_inputs/model.pt"):
        raise CheckpointError(reader_text("models.export_check.pickled_sample_inputs"))
    for name in names:
        if name.endswith(".json"):
            _check_texts(json.loads(archive.read_bytes(name)))


def _check_texts(tree: Any) -> None:
    for key, value in _leaves(tree):
        if key == "use_pickle" and value is not False:
            raise CheckpointError(reader_text("models.export_check.pickled_tensors"))
        if isinstance(value, str) and (len(value) > _MOST_CHARACTERS or not _RULES.get(key, _is(_NAME))(value)):
            raise CheckpointError(
                reader_text("models.export_check.text_may_be_code", name=key or "graph", value=f"{value[:60]!r}")
            )


def _leaves(tree: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value with the name it stands under, and every name as a value of its own."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield "", name
            yield from _leaves(value, name)
    elif isinstance(tree, list):
        for value in tree:
            yield from _leaves(value, key)
    else:
        yield key, tree


def _is(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


def _made_of(token: re.Pattern[str]) -> Callable[[str], bool]:
    """Token by token: one pattern over all of a crafted text could backtrack for ever."""

    def check(text: str) -> bool:
        position = 0
        while position < len(text) and (found := token.match(text, position)):
            position = found.end()
        return position == len(text)

    return check


def _is_structure(text: str) -> bool:
    """True for nested containers of the kinds that every Python has, or that transformers' models return."""
    try:
        return all(_is_container(key, value) for key, value in _leaves(json.loads(text)))
    except ValueError:
        return False


def _is_container(key: str, value: Any) -> bool:
    if key == "type":
        return value is None or _CONTAINER.fullmatch(str(value)) is not None
    if key == "context" and isinstance(value, str):
        keys = json.loads(value)  # a dict's keys; a mapping among them would make PyTorch import the name in it
        return keys is None or (isinstance(keys, list) and all(_is_key(key) for key in keys))
    return _is_key(value)


def _is_key(value: Any) -> bool:
    return value is None or isinstance(value, int) or (isinstance(value, str) and bool(_TEXT.fullmatch(value)))


_RULES: dict[str, Callable[[str], bool]] = {
    "expr_str": _made_of(_IN_EXPRESSION),
    "guards_code": _made_of(_IN_GUARD),
    "target": _is(_OPERATOR),
    "as_string": _is(_TEXT),
    "as_strings": _is(_TEXT),
    "torch_version": _is(_TEXT),
    "as_operator": _is(_OPERATOR),
    "in_spec": _is_structure,
    "out_spec": _is_structure,
}
