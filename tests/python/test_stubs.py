# SPDX-License-Identifier: Apache-2.0
"""Proves that the stub says what the module has: every class, method, property and parameter, both
ways; that each has a doc string; and that what is documented to be marked as typed is."""
import ast
import inspect
import pathlib

import pytest
import slipring
from slipring import _slipring

STUB = ast.parse(pathlib.Path(slipring.__file__).with_name("_slipring.pyi").read_text())
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
UNDOCUMENTED = {"__enter__", "__exit__", "__reduce__", "__buffer__", "__getitem__", "__setitem__",
                "__len__", "__iter__", "__aiter__", "__dlpack__", "__dlpack_device__", "_turn_over"}


def public(names):
    return {name for name in names if not name.startswith("_")}


def test_marked_as_typed():
    assert pathlib.Path(slipring.__file__).with_name("py.typed").exists()


def test_module():
    functions = {node.name for node in STUB.body if isinstance(node, ast.FunctionDef)}
    assert public(vars(_slipring)) == public(CLASSES) | functions
    assert public(vars(_slipring)) <= set(vars(slipring))


@pytest.mark.parametrize("name", CLASSES)
def test_class(name):
    kind, node = getattr(_slipring, name), CLASSES[name]
    assert kind.__doc__, "no doc string"
    if issubclass(kind, Exception):
        assert [ast.unparse(base) for base in node.bases] == [base.__name__ for base in kind.__bases__]
        return
    members = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
    assigned = {part.target.id for part in node.body if isinstance(part, ast.AnnAssign)}
    assert public(vars(kind)) == public(members) | assigned
    for member, part in members.items():
        there = vars(kind).get(member)
        is_property = any(ast.unparse(d) == "property" for d in part.decorator_list)
        assert inspect.isgetsetdescriptor(there) == is_property, member
        if member not in UNDOCUMENTED:
            assert getattr(kind, member).__doc__, member
        if is_property or member in UNDOCUMENTED:
            continue
        signature = inspect.signature(getattr(kind, member))
        found = [p.name for p in signature.parameters.values() if p.name != "self"]
        arguments = [*part.args.posonlyargs, *part.args.args, *part.args.kwonlyargs]
        said = [a.arg for a in arguments if a.arg not in ("self", "cls")]
        assert found == said, member
        defaults = [ast.literal_eval(d) for d in [*part.args.defaults, *part.args.kw_defaults] if d]
        assert defaults == [p.default for p in signature.parameters.values()
                            if p.default is not p.empty], member
