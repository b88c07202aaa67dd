"""The pages of docs/, as Sphinx reads them."""

from docutils import nodes


def tables(page: nodes.document, title: str) -> list[list[list[nodes.entry]]]:
    """Return the rows of those tables that have a column of this title."""
    found = []
    for each in page.findall(nodes.table):
        head, *rows = [list(row.findall(nodes.entry)) for row in each.findall(nodes.row)]
        if title in [entry.astext() for entry in head]:
            found.append(rows)
    return found


def table(page: nodes.document, title: str) -> list[list[nodes.entry]]:
    [rows] = tables(page, title)
    return rows


def as_texts(rows: list[list[nodes.entry]]) -> dict[str, str]:
    return {name.astext(): value.astext() for name, value in rows}


def literals(node: nodes.Node) -> list[str]:
    return [literal.astext().replace("\n", " ") for literal in node.findall(nodes.literal)]
