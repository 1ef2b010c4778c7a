"""The few kinds of panels that Streamer's dashboards have, made by Grafana's own builders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    gauge,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models import prometheus as query_models

SOURCE = models.DataSourceRef("prometheus", "${datasource}")
DAEMON = 'instance=~"$instance"'
"""Matcher of the daemons that are chosen."""

PULSE = "5s"

WRITER, JOB = 'stage="writer"', 'job="streamer"'
"""More matchers: of what the raw writer lost; of the daemon, where other programs export the same."""

WEB = 'job="streamer-web"'
"""Matcher of the page's servers, which are processes of their own, wherever they run."""

Steps = Sequence[tuple[float | None, str]]
Queries = Mapping[str, str]
"""PromQL by the name that the legend gives its series; ``{{label}}`` in a name is the label's value."""


def of(metric: str, *matchers: str) -> str:
    """A metric of the chosen daemons."""
    return f"{metric}{{{', '.join((DAEMON, *matchers))}}}"


def of_web(metric: str) -> str:
    """A metric of the page's servers."""
    return f"{metric}{{{WEB}}}"


def rate_of_web(metric: str) -> str:
    """Growth of a counter of the page's servers per second."""
    return f"rate({of_web(metric)}[$__rate_interval])"


def rate(metric: str, *matchers: str) -> str:
    """Growth of a counter per second."""
    return f"rate({of(metric, *matchers)}[$__rate_interval])"


def grown(metric: str, *matchers: str) -> str:
    """Growth of a counter of whole numbers in the time that is shown."""
    return f"round(increase({of(metric, *matchers)}[$__range]))"


def quantile(share: float, histogram: str) -> str:
    return f"histogram_quantile({share}, sum by (le) ({rate(f'{histogram}_bucket')}))"


def _common(panel: Any, title: str, text: str, unit: str, queries: Queries, instant: bool) -> Any:
    panel.title(title).description(text).unit(unit).datasource(SOURCE).interval(PULSE)
    for letter, (legend, expression) in zip("ABCDEFGH", queries.items(), strict=False):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(letter).datasource(SOURCE)
        query.editor_mode(query_models.QueryEditorMode.CODE)
        panel.with_target(query.instant() if instant else query.range())
    return panel


def _colours(panel: Any, steps: Steps) -> Any:
    thresholds = dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE)
    thresholds.steps([models.Threshold(value, colour) for value, colour in steps])
    colour = dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS)
    return panel.thresholds(thresholds).color_scheme(colour)


def _last() -> Any:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False)


def number(title: str, text: str, unit: str, queries: Queries, steps: Steps = ((None, "blue"),)) -> Any:
    """The present value of each query; its colour is that of the highest step that it reaches."""
    panel = stat.Panel().graph_mode(common_models.BigValueGraphMode.NONE).reduce_options(_last())
    mode = common_models.BigValueColorMode.BACKGROUND if len(steps) > 1 else common_models.BigValueColorMode.VALUE
    panel.color_mode(mode).text_mode(common_models.BigValueTextMode.VALUE_AND_NAME)
    return _colours(_common(panel, title, text, unit, queries, instant=True), steps)


def words(title: str, text: str, queries: Queries) -> Any:
    """The names of the series that there are."""
    panel = stat.Panel().graph_mode(common_models.BigValueGraphMode.NONE).reduce_options(_last())
    panel.text_mode(common_models.BigValueTextMode.NAME).no_value("none")
    return _colours(_common(panel, title, text, "none", queries, instant=True), ((None, "blue"),))


def share(title: str, text: str, queries: Queries, steps: Steps) -> Any:
    """Shares between 0 and 1, as gauges."""
    panel = gauge.Panel().reduce_options(_last()).min(0).max(1).decimals(0)
    return _colours(_common(panel, title, text, "percentunit", queries, instant=True), steps)


def bars(title: str, text: str, unit: str, queries: Queries) -> Any:
    """A bar for each series, with its present value."""
    panel = bargauge.Panel().reduce_options(_last()).min(0)
    panel.orientation(common_models.VizOrientation.HORIZONTAL)
    return _colours(_common(panel, title, text, unit, queries, instant=True), ((None, "blue"),))


def lines(
    title: str, text: str, unit: str, queries: Queries, stacked: bool = False, points: bool = False, zero: bool = True
) -> Any:
    """Values over time; ``points`` mark each one, ``zero`` keeps 0 in the picture."""
    panel = timeseries.Panel().line_width(1).fill_opacity(30 if stacked else 8)
    panel.legend(common.VizLegendOptions().display_mode(common_models.LegendDisplayMode.LIST).show_legend(True))
    panel.tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    if stacked:
        panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    if points:
        panel.line_interpolation(common_models.LineInterpolation.STEP_AFTER)
    if zero:
        panel.axis_soft_min(0)
    return _common(panel, title, text, unit, queries, instant=False)


def states(title: str, text: str, queries: Queries) -> Any:
    """A row for each series, coloured while it is 1."""
    panel = statetimeline.Panel().merge_values(True).show_value(common_models.VisibilityMode.NEVER)
    return _colours(_common(panel, title, text, "none", queries, instant=False), ((None, "transparent"), (1, "blue")))


def distribution(title: str, text: str, histogram: str) -> Any:
    """How a histogram of durations changes over time."""
    panel = heatmap.Panel().calculate(False)
    panel.y_axis(heatmap.YAxisConfig().unit("s"))
    panel.color(heatmap.HeatmapColorOptions().mode(heatmap_models.HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
    queries = {"{{le}}": f"sum by (le) (increase({of(f'{histogram}_bucket')}[$__rate_interval]))"}
    panel = _common(panel, title, text, "s", queries, instant=False)
    panel._internal.targets[0].format_val = query_models.PromQueryFormat.HEATMAP
    return panel


def board(uid: str, title: str, text: str, rows: Sequence[Sequence[tuple[int, int, Any]]], shown: str) -> Any:
    """A dashboard of ``rows`` of (width, height, panel), which shows the last ``shown`` at first."""
    built = dashboard.Dashboard(title).uid(uid).description(text).tags(["streamer", "tomography"]).editable()
    built.refresh(PULSE).time(f"now-{shown}", "now").timezone("browser").version(1)
    built.tooltip(models.DashboardCursorSync.CROSSHAIR)
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    daemons = dashboard.QueryVariable("instance").label("Daemon").datasource(SOURCE).multi(True).include_all(True)
    daemons.query("label_values(streamer_build_info, instance)").refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    daemons.all_value(".+").current(models.VariableOption(text=["All"], value=["$__all"], selected=True))
    built.with_variable(source).with_variable(daemons)
    others = dashboard.DashboardLink("Streamer").type(models.DashboardLinkType.DASHBOARDS).tags(["streamer"])
    built.link(others.as_dropdown(True).keep_time(True).include_vars(True))
    y, count = 0, 0
    for row in rows:
        x = 0
        for width, height, panel in row:
            count += 1
            place = models.GridPos(h=height, w=width, x=x, y=y)
            built.with_panel(panel.id(count).grid_pos(place))
            x += width
        y += max(height for _, height, _ in row)
    return built
