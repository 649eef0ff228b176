"""Beside every HTML page its Markdown, and ``llms.txt``, the list of them all.

Pages are translated from what Sphinx has resolved, so they hold the same text, outputs and links.
"""

import re
from pathlib import Path

from docutils import nodes

HEAD = """# {title}

> {summary}

Every page of the documentation is here as Markdown, beside its HTML.
"""


class Markdown:
    """Translate a document to Markdown; what is not known gives its children."""

    def __init__(self, images: dict[str, str] | None = None, pictures: str = "") -> None:
        self.level = 0
        self.images = images or {}
        self.pictures = pictures

    def __call__(self, node: nodes.Node) -> str:
        """Return the Markdown of a node: of a block with an empty line behind it."""
        for kind in type(node).__mro__:
            method = getattr(self, kind.__name__, None)
            if method and kind.__name__[0] != "_":
                return method(node)
        return self._inside(node)

    def _inside(self, node: nodes.Node) -> str:
        """Return the Markdown of all children, one after the other."""
        return "".join(self(child) for child in node.children)

    def _line(self, node: nodes.Node) -> str:
        """Return the children as one line."""
        return " ".join(self._inside(node).split())

    # --- within a line

    def Text(self, node):
        return node.astext()

    def emphasis(self, node):
        return f"*{self._inside(node)}*"

    def strong(self, node):
        return f"**{self._inside(node)}**"

    def literal(self, node):
        return f"`{node.astext()}`"

    def math(self, node):
        return f"${node.astext()}$"

    def reference(self, node):
        url, text = node.get("refuri", ""), self._inside(node)
        if not url or not text.strip():
            return text
        if "://" not in url and not url.startswith("mailto:"):
            url = re.sub(r"\.html(#.*)?$", ".md", url)
        return f"[{text}]({url})"

    def image(self, node):
        url = node.get("uri", "")
        return f"![{node.get('alt', '')}]({self.images.get(url, url)})\n\n"

    def imgsgnode(self, node):  # a picture of sphinx-gallery's
        url = self.pictures + node["uri"].rpartition("/")[2]
        return f"![{node.get('alt', '')}]({url})\n\n"

    # --- blocks

    def section(self, node):
        self.level += 1
        text = self._inside(node)
        self.level -= 1
        return text

    def title(self, node):
        return f"{'#' * max(1, min(self.level, 6))} {self._line(node)}\n\n"

    def rubric(self, node):
        return f"**{self._line(node)}**\n\n"

    def paragraph(self, node):
        return self._inside(node).strip() + "\n\n"

    def literal_block(self, node):
        language = node.get("language", "")
        language = "" if language in ("none", "default") else language
        text = node.astext().strip("\n")
        fence = "````" if "```" in text else "```"
        return f"{fence}{language}\n{text}\n{fence}\n\n"

    doctest_block = literal_block

    def math_block(self, node):
        return f"$$\n{node.astext().strip()}\n$$\n\n"

    def block_quote(self, node):
        return _indent(self._inside(node), "> ")

    def bullet_list(self, node):
        return "".join(_item("- ", self._inside(item)) for item in node.children) + "\n"

    def enumerated_list(self, node):
        numbered = enumerate(node.children, 1)
        return "".join(_item(f"{i}. ", self._inside(item)) for i, item in numbered) + "\n"

    def definition_list_item(self, node):
        heads, rest = [], []
        for child in node.children:
            name = type(child).__name__
            if name == "term":
                heads.append(f"**{' '.join(child.astext().split())}**")
            elif name == "classifier":
                heads.append(f": {self._line(child)}")
            else:
                rest.append(self(child))
        return " ".join(heads) + "\n\n" + "".join(rest)

    def definition(self, node):
        return _indent(self._inside(node), "  ")

    def field(self, node):
        name, body = node.children
        return f"**{name.astext()}**\n\n{self(body)}"

    def table(self, node):
        rows = [
            [self._line(entry).replace("|", "\\|") for entry in row.children]
            for row in node.findall(nodes.row)
        ]
        width = max((len(row) for row in rows), default=0)
        if not width:
            return ""
        rows = [row + [""] * (width - len(row)) for row in rows]
        if not any(True for _ in node.findall(nodes.thead)):
            rows.insert(0, [""] * width)
        rows.insert(1, ["---"] * width)
        return "".join(f"| {' | '.join(row)} |\n" for row in rows) + "\n"

    def transition(self, node):
        return "---\n\n"

    # --- what is not text

    def comment(self, node):
        return ""

    raw = substitution_definition = system_message = toctree = comment

    # --- descriptions of classes and functions

    def desc_signature(self, node):
        return f"### `{' '.join(node.astext().split())}`\n\n"

    def desc_content(self, node):
        return self._inside(node)


def _indent(text: str, by: str) -> str:
    lines = text.strip("\n").split("\n")
    return "\n".join((by + line).rstrip() for line in lines) + "\n\n"


def _item(mark: str, text: str) -> str:
    lines = text.strip("\n").split("\n")
    rest = "".join(f"\n{' ' * len(mark)}{line}".rstrip(" ") for line in lines[1:])
    return f"{mark}{lines[0]}{rest}\n"


def translate(
    document: nodes.document, images: dict[str, str] | None = None, pictures: str = ""
) -> str:
    """Translate a document to Markdown.

    ``images`` says where pictures are, by their source; those of the gallery are in ``pictures``.
    """
    text = Markdown(images, pictures)(document)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def first_sentence(document: nodes.document) -> str:
    """Say what a page is about, as its first paragraph does."""
    for paragraph in document.findall(nodes.paragraph):
        within = isinstance(paragraph.parent, (nodes.Admonition, nodes.list_item, nodes.entry))
        if within or type(paragraph) is not nodes.paragraph:  # a list of pages is one, too
            continue
        text = " ".join(paragraph.astext().split())
        if len(text) > 20:
            return re.split(r"(?<=[.!?:]) ", text, maxsplit=1)[0].rstrip(":")
    return ""


def outline(app) -> dict[str, list[str]]:
    """List the pages by the top page under which they stand."""
    children = app.env.toctree_includes
    found: dict[str, list[str]] = {}
    seen = {app.config.root_doc}

    def below(name: str) -> list[str]:
        pages = []
        for child in children.get(name, ()):
            if child not in seen:
                seen.add(child)
                pages += [child, *below(child)]
        return pages

    for top in children.get(app.config.root_doc, ()):
        seen.add(top)
        found[top] = [top, *below(top)]
    rest = sorted(set(app.env.found_docs) - seen)
    return found | ({"": rest} if rest else {})


def write(app, exception):
    """Sphinx's event ``build-finished``: write Markdown beside every HTML page, and the list."""
    if exception or app.builder.name != "html":
        return
    out, env = Path(app.outdir), app.env
    about = {}
    for name in sorted(env.found_docs):
        document = env.get_and_resolve_doctree(name, app.builder, tags=app.tags)
        page = out / f"{name}.md"
        page.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * name.count("/") + "_images/"
        images = {source: up + file for source, file in app.builder.images.items()}
        page.write_text(translate(document, images, up))
        about[name] = first_sentence(document)
    lines = [HEAD.format(title=app.config.project, summary=app.config.llms_summary)]
    for top, pages in outline(app).items():
        lines.append(f"\n## {env.titles[top].astext() if top else 'More'}\n\n")
        for name in pages:
            said = f": {about[name]}" if about[name] else ""
            lines.append(f"- [{env.titles[name].astext()}]({name}.md){said}\n")
    (out / "llms.txt").write_text("".join(lines))


def setup(app):
    """Register with Sphinx."""
    app.add_config_value("llms_summary", "", "")
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}
