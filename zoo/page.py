"""What a page of HTML that stands alone is made of: style, tables, pictures inside it."""

from __future__ import annotations

import base64
import html

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
color: #222 } h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse } td, th { padding: .25rem .9rem .25rem 0; text-align: left }
td.n, th.n { text-align: right } tr + tr td { border-top: 1px solid #e4e4e4 }
pre { background: #f6f6f6; padding: 1rem; overflow-x: auto; font-size: 13px }
img, svg { max-width: 100%; height: auto }
"""


def table(rows: list[tuple[str, ...]], numbers: bool = False, head: bool = False) -> str:
    """Rows of text. numbers: all columns but the first to the right; head: the first row is one."""
    parts = []
    for index, row in enumerate(rows):
        tag = "th" if head and index == 0 else "td"
        cells = (
            f"<{tag}{' class=n' if numbers and place else ''}>{html.escape(cell)}</{tag}>"
            for place, cell in enumerate(row)
        )
        parts.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(parts)}</table>"


def number(value: float | None) -> str:
    """Two decimals, or nothing."""
    return "" if value is None else f"{value:.2f}"


def inline_png(content: bytes) -> str:
    """A picture that lies in the page itself."""
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(content).decode()}">'


def inline_svg(content: bytes) -> str:
    """A drawing that lies in the page itself."""
    text = content.decode()
    return text[text.index("<svg") :]
