"""Queries as trees: rendered for PostgreSQL or for us, and made smaller where they differ.

Dialects: `postgres`, `ours`, and `alone`: ours without the views of other queries, their text in place.
"""


class Node:
    """A piece of a query. `kind` says what may stand in its place; `smaller` are texts that may."""

    __slots__ = ("kind", "parts", "smaller")

    def __init__(self, kind, parts, smaller=()):
        self.kind, self.parts, self.smaller = kind, list(parts), list(smaller)

    def render(self, dialect):
        return "".join(part if isinstance(part, str) else part.render(dialect) for part in self.parts)

    def descendants(self):
        for part in self.parts:
            if isinstance(part, Node):
                yield part
                yield from part.descendants()


class Leaf(Node):
    """A piece with a spelling for each side."""

    __slots__ = ("texts",)

    def __init__(self, kind, postgres, ours, smaller=(), alone=None):
        super().__init__(kind, [], smaller)
        self.texts = {"postgres": postgres, "ours": ours, "alone": alone or ours}

    def render(self, dialect):
        return self.texts[dialect]


def text(kind, *parts, smaller=()):
    return Node(kind, parts, smaller)


def joined(nodes, separator):
    """Nodes with a separator between them, as parts."""
    parts = []
    for node in nodes:
        if parts:
            parts.append(separator)
        parts.append(node)
    return parts


def shrink(root, differs):
    """Replaces parts of the tree by smaller ones for as long as `differs()` stays true. In place."""
    progress = True
    while progress:
        progress = False
        pending = [root]
        while pending:
            parent = pending.pop(0)
            for index, part in enumerate(parent.parts):
                if not isinstance(part, Node):
                    continue
                for candidate in candidates(part):
                    parent.parts[index] = candidate
                    if differs():
                        progress = True
                        break
                    parent.parts[index] = part
                if isinstance(parent.parts[index], Node):
                    pending.append(parent.parts[index])
    return root


def candidates(node):
    yield from node.smaller
    alike = [inner for inner in node.descendants() if inner.kind == node.kind]
    yield from sorted(alike, key=lambda inner: len(inner.render("postgres")))
