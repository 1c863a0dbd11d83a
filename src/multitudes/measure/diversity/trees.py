"""How different the syntax trees of programs are. A quality-blind score: read it beside validity.

A program is parsed by tree-sitter. Of its tree the named nodes stay; names and literals are reduced to their node
type and comments dropped, so that renaming a variable or changing a constant changes nothing. A bag of programs is
then compared by the shapes they use: at every node, the subtree cut at depth 1, 2 and 3, the node itself at depth 0.

Source: the idea of depth-bounded subtrees of arXiv 2508.14288; depths, reduction and normalisation are our own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from multitudes.core.errors import MissingExtra
from multitudes.measure.errors import TooFewSamplesError

FloatArray = NDArray[np.float64]

DEPTHS = (1, 2, 3)
_DROPPED = frozenset({"comment", "line_continuation"})
# The text of a string is its literal part; an expression inside an f-string is code and stays.
_LITERAL_PARTS = frozenset({"string_start", "string_content", "string_end"})


class SyntaxShape(NamedTuple):
    """The reduced tree of one program.

    Attributes:
        nodes: Number of nodes kept.
        serialised: The whole tree as nested types, ``type(child,child)``.
        subtrees: Count of each (depth, serialised subtree); their counts sum to 3 x ``nodes``.
    """

    nodes: int
    serialised: str
    subtrees: Counter[tuple[int, str]]


class TreeDiversity(NamedTuple):
    """Spread of the syntax trees of one bag. All are higher for more diverse programs, 0 (``unique`` 1/K) for equal.

    Attributes:
        jsd: AST-JSD in [0, 1]: generalised Jensen-Shannon divergence of the subtree distributions over its maximum
            log2 K. None if fewer than two programs parse.
        pair: AST-pair in [0, 1] bits: mean Jensen-Shannon divergence of two programs; its expectation does not
            depend on K. None likewise.
        unique: AST-unique in [1/K, 1]: share of different whole trees among the parsed; size-sensitive; None
            likewise.
        programs: K, the programs that parse.
        invalid: Programs left out because they do not parse.
        nodes: Nodes of all parsed programs.
        parser: Name and versions of the parser and the grammar.
        note: Why there is no value; empty if there is one.
    """

    jsd: float | None
    pair: float | None
    unique: float | None
    programs: int
    invalid: int
    nodes: int
    parser: str
    note: str


@cache
def _parser() -> Any:
    try:
        import tree_sitter
        import tree_sitter_python
    except ImportError as error:
        raise MissingExtra("measure", "the syntax trees of programs") from error
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_python.language()))


def parser_name() -> str:
    """The parser and its grammar with versions; scores of two names are not compared.

    Raises:
        MissingExtra: tree-sitter is not installed.
    """
    from importlib.metadata import version

    _parser()
    return f"tree-sitter-python {version('tree-sitter-python')} (tree-sitter {version('tree-sitter')})"


def _nodes(tree: Any) -> tuple[list[str], list[int], list[bool]]:
    """Types of the kept nodes in pre-order, the index of each one's parent (root: -1), and which are leaves."""
    types: list[str] = []
    parents: list[int] = []
    leaf: list[bool] = []
    waiting: list[tuple[Any, int]] = [(tree.root_node, -1)]
    while waiting:  # by hand: a program may be nested deeper than Python calls may
        node, parent = waiting.pop()
        kind = node.type
        if kind in _DROPPED or kind in _LITERAL_PARTS:
            continue
        own = len(types)
        types.append(kind)
        parents.append(parent)
        leaf.append(True)
        if parent >= 0:
            leaf[parent] = False
        waiting += [(child, own) for child in reversed(node.named_children)]
    return types, parents, leaf


def _level(types: Sequence[str], parents: Sequence[int], below: Sequence[str] | None) -> list[str]:
    """Each node's subtree cut one level deeper than ``below``; the bare types if that is None."""
    if below is None:
        return list(types)
    children: list[list[str]] = [[] for _ in types]
    for index, parent in enumerate(parents):
        if parent >= 0:
            children[parent].append(below[index])
    return [f"{kind}({','.join(kids)})" if kids else kind for kind, kids in zip(types, children, strict=True)]


def _serialise(types: Sequence[str], parents: Sequence[int], leaf: Sequence[bool]) -> str:
    """The whole tree in one pass over the pre-order."""
    out: list[str] = []
    open_nodes: list[int] = []
    for index, parent in enumerate(parents):
        closed = 0
        while open_nodes and open_nodes[-1] != parent:
            open_nodes.pop()
            closed += 1
        out.append(")" * closed)
        if parent >= 0 and index != parent + 1:
            out.append(",")
        out.append(types[index])
        if not leaf[index]:
            out.append("(")
            open_nodes.append(index)
    out.append(")" * len(open_nodes))
    return "".join(out)


def syntax_shape(program: str) -> SyntaxShape | None:
    """The reduced tree of a Python program; None if it does not parse. Linear in the nodes.

    Raises:
        MissingExtra: tree-sitter is not installed.

    >>> syntax_shape("x = 1").serialised
    'module(expression_statement(assignment(identifier,integer)))'
    """
    tree = _parser().parse(program.encode("utf-8", "replace"))
    if tree.root_node.has_error:
        return None
    types, parents, leaf = _nodes(tree)
    subtrees: Counter[tuple[int, str]] = Counter()
    level = _level(types, parents, None)
    for depth in DEPTHS:
        level = _level(types, parents, level)
        subtrees.update((depth, shape) for shape in level)
    return SyntaxShape(len(types), _serialise(types, parents, leaf), subtrees)


def _distributions(shapes: Sequence[SyntaxShape]) -> csr_matrix:
    """(K, U) share of each of the U subtrees in each program; columns of a row are sorted."""
    column: dict[tuple[int, str], int] = {}
    rows, columns, values = [], [], []
    for row, shape in enumerate(shapes):
        total = shape.subtrees.total()
        for subtree, count in shape.subtrees.items():
            rows.append(row)
            columns.append(column.setdefault(subtree, len(column)))
            values.append(count / total)
    return csr_matrix((values, (rows, columns)), shape=(len(shapes), len(column)), dtype=np.float64)


def _plogp(p: FloatArray) -> FloatArray:
    """-p log2 p of positive p."""
    return np.asarray(-p * np.log2(p))


def _pairwise(p: csr_matrix) -> float:
    """Mean Jensen-Shannon divergence in bits over the pairs of rows.

    Two distributions without a common subtree are 1 bit apart; each common one takes off what it explains.
    """
    k = p.shape[0]
    total = 0.0
    for row in range(k - 1):
        own = np.zeros(p.shape[1])
        start, end = p.indptr[row], p.indptr[row + 1]
        own[p.indices[start:end]] = p.data[start:end]
        a, b = own[p.indices[end:]], p.data[end:]  # all later rows at once
        a, b = a[a > 0], b[a > 0]
        explained = (_plogp(a) + _plogp(b) + a + b) / 2 - _plogp((a + b) / 2)
        total += (k - 1 - row) - float(explained.sum())
    return float(min(1.0, max(0.0, total / (k * (k - 1) / 2))))


def tree_diversity(programs: Sequence[str]) -> TreeDiversity:
    """AST-JSD, AST-pair and AST-unique of a bag of Python programs.

    Programs that do not parse are left out and counted: they belong to validity.

    Args:
        programs: At least two program texts.

    Raises:
        TooFewSamplesError: Fewer than two programs.
        MissingExtra: tree-sitter is not installed.
    """
    if len(programs) < 2:
        raise TooFewSamplesError(
            "too few samples: the trees of a bag need at least two programs",
            found=str(len(programs)),
            expected=">= 2",
        )
    name = parser_name()
    shapes = [shape for shape in map(syntax_shape, programs) if shape is not None]
    k, invalid = len(shapes), len(programs) - len(shapes)
    nodes = sum(shape.nodes for shape in shapes)
    if k < 2:
        return TreeDiversity(None, None, None, k, invalid, nodes, name, f"only {k} of {len(programs)} programs parse")
    p = _distributions(shapes)
    mean = np.asarray(p.mean(axis=0)).ravel()
    jsd = (float(_plogp(mean).sum()) - float(_plogp(p.data).sum()) / k) / np.log2(k)
    unique = len({shape.serialised for shape in shapes}) / k
    return TreeDiversity(min(1.0, max(0.0, float(jsd))), _pairwise(p), unique, k, invalid, nodes, name, "")
