"""What the documentation takes from the program: help of the verbs, metrics, list of decisions, table of states."""

from __future__ import annotations

import io
import os
import re
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from prometheus_client.registry import Collector

from streamer import cli
from streamer.metrics import EMPTY, QUALITY, MetricsSnapshot, StreamerCollector
from streamer.web.hub import Hub
from streamer.web.metrics import WebCollector

DOCS = Path(__file__).parent
LOADED = re.compile(r"""<(?:script|link|img)[^>]+(?:src|href)=["']?https?:[^>]*>""")
NO_SNIPPET = re.compile(r'^--8(?!<-- ").*', re.MULTILINE)
WEB = (
    "What `streamer web --metrics PORT` shows at `http://127.0.0.1:PORT/metrics`, to the machine that it runs on; "
    "`process_…` is there as well."
)
TRANSITION = re.compile(r"(\w+) --> (\w+): (\w+)")


def on_config(config: Any) -> Any:
    """All decisions are in the navigation, in their order."""
    explanation = next(part["Explanation"] for part in config.nav if "Explanation" in part)
    decisions = next(part for part in explanation if isinstance(part, dict) and "Decisions" in part)
    decisions["Decisions"] = [f"decisions/{path.name}" for path in sorted((DOCS / "decisions").glob("*.md"))]
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    if broken := NO_SNIPPET.search(markdown):
        raise PluginError(f"{page.file.src_uri}: {broken[0]!r} includes no file")
    if page.file.src_uri == "command-line.md":
        return markdown + "".join(f"\n## streamer {verb}\n\n```text\n{help_of(verb)}```\n" for verb in cli.VERBS)
    if page.file.src_uri == "metrics.md":
        return markdown + table_of_metrics()
    # Pages on a code host draw the diagram; here its arrows are a table, as the drawing would need a script from afar.
    return re.sub(r"```mermaid\n(.*?)```", lambda match: table_of(match[1]), markdown, flags=re.DOTALL)


def help_of(*words: str) -> str:
    os.environ["COLUMNS"] = "80"  # the width that argparse writes for, and the page has
    with redirect_stdout(io.StringIO()) as text, suppress(SystemExit):
        cli.main([*words, "--help"])
    return text.getvalue()


def table_of_metrics() -> str:
    """Every metric of a daemon that has measured everything, and of the page's server."""
    known = MetricsSnapshot(
        disk_free_bytes=0,
        disk_size_bytes=0,
        gpu_memory_used_bytes=0,
        gpu_memory_bytes=0,
        quality=dict.fromkeys(QUALITY, 0.0),
        connections_open={"control": 0},
        threads={"receive": True},
        stages={"fold": EMPTY},
    )
    daemon = rows_of(StreamerCollector(lambda: known))
    web = rows_of(WebCollector(Hub(), lambda: True))
    return "\n".join(["", "## The daemon", "", *daemon, "", "## The server of the web page", "", WEB, "", *web])


def rows_of(collector: Collector) -> list[str]:
    """A table of what a collector gives."""
    rows = ["| metric | type | labels | |", "|---|---|---|---|"]
    for family in collector.collect():
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        text = f"{', '.join(f'`{label}`' for label in labels)} | {family.documentation}"
        rows.append(f"| `{name}` | {family.type} | {text} |")
    return rows


def table_of(diagram: str) -> str:
    """The arrows of a state diagram as a table."""
    rows = [f"| {state} | {event} | {after} |" for state, after, event in TRANSITION.findall(diagram)]
    return "\n".join(["| in the state | the event | leads to |", "|---|---|---|", *rows])


def on_post_build(config: Any) -> None:
    """The pages load nothing from elsewhere: beamlines have no way out."""
    for page in Path(config.site_dir).rglob("*.html"):
        if loaded := LOADED.search(page.read_text(encoding="utf-8")):
            raise PluginError(f"{page.name} loads from elsewhere: {loaded[0]}")
