"use strict";
// Draws the timelines with BokehJS, which is in the page.  If anything of it does not work here,
// the static figures stay.
(async () => {
  const figure = document.getElementById("figure-timelines");
  const live = document.getElementById("live");
  const unpacked = async (id) => {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };
  if (typeof DecompressionStream === "undefined") return; // an old browser: static figures
  const script = document.createElement("script");
  script.textContent = await unpacked("library");
  document.head.append(script);
  const data = JSON.parse(await unpacked("data"));

  const coarse = matchMedia("(pointer: coarse)").matches; // a finger scrolls the page
  Bokeh.logger.set_level("error");
  const all = new Bokeh.Document(); // one, so that panels share their range of time
  const targets = [];
  const paints = []; // functions that colour what was drawn, for the theme as it is
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const ends = data.variants.flatMap((v) => v.series.slice(0, 1).map((s) => s.t[s.t.length - 1]));
  const span = { start: 0, end: Math.max(0, ...ends) || 1 };
  const times = new Bokeh.Range1d({ ...span, bounds: [span.start, span.end], reset_start: span.start, reset_end: span.end });

  // The same scale in all variants: they are to be compared.
  const upTo = (of) => {
    let most = 0;
    for (const values of data.variants.flatMap(of)) for (const value of values) if (value > most) most = value;
    return new Bokeh.Range1d({ start: 0, end: (most || 1) * 1.06 });
  };
  const uses = upTo((v) => v.series.map((s) => s.mean).concat([[100]]));
  const queues = upTo((v) => v.series.map((s) => s.queue));
  const waited = upTo((v) => v.points.map((kind) => kind.wait));
  const late = upTo((v) => [...(v.machine ? [v.machine.lag] : []), ...(v.late ? [v.late.late] : []),
    v.asked_lag.filter((bound) => !bound.beyond).map((bound) => bound.at)]);
  const share = new Bokeh.Range1d({ start: 0, end: 105 });

  const panel = (unit, height, range) => {
    const p = new Bokeh.Plotting.figure({
      height, sizing_mode: "stretch_width", x_range: times, y_range: range,
      tools: [], toolbar_location: "right", output_backend: "canvas", min_border_left: 64, lod_threshold: null,
    });
    const zoom = new Bokeh.BoxZoomTool({ dimensions: "width" });
    const wheel = new Bokeh.WheelZoomTool({ dimensions: "width" });
    p.add_tools(zoom, new Bokeh.PanTool({ dimensions: "width" }), wheel, new Bokeh.ResetTool(), new Bokeh.SaveTool());
    p.toolbar.active_drag = coarse ? null : zoom;
    p.toolbar.active_scroll = null;
    p.toolbar.logo = null;
    p.toolbar.autohide = true;
    p.yaxis.axis_label = unit;
    for (const axis of p.yaxes) axis.ticker.desired_num_ticks = height < 160 ? 4 : 6;
    paints.push(() => {
      p.background_fill_color = p.border_fill_color = p.outline_line_color = null;
      for (const axis of [...p.xaxes, ...p.yaxes]) {
        axis.axis_label_text_color = axis.major_label_text_color = colour("soft");
        axis.axis_line_color = axis.major_tick_line_color = colour("grey");
        axis.minor_tick_line_color = null;
        axis.axis_label_text_font_style = "normal";
      }
      for (const grid of [...p.xgrids, ...p.ygrids]) grid.grid_line_color = colour("line");
    });
    return p;
  };
  // The steady window, and what happened: numbered lines, of which the page has a list.
  const shade = (p, { window, marks, labels }) => {
    for (const location of marks) {
      const mark = new Bokeh.Span({ location, dimension: "height", line_dash: [2, 3] });
      p.add_layout(mark);
      paints.push(() => { mark.line_color = colour("fg"); });
    }
    for (const [x, text] of labels) {
      const name = new Bokeh.Label({ x, y: p.y_range.end, text, text_font_size: "11px", text_baseline: "top", x_offset: 2, background_fill_alpha: 0.8 });
      p.add_layout(name);
      paints.push(() => { name.text_color = colour("fg"); name.background_fill_color = colour("paper"); });
    }
    if (!window) return;
    const box = new Bokeh.BoxAnnotation({ left: window[0], right: window[1], line_color: null, fill_alpha: 0.15, level: "underlay" });
    p.add_layout(box);
    paints.push(() => { box.fill_color = colour("grey"); });
  };
  // What a check asked for, with its label at the line; far above all that was seen, at the edge.
  const ask = (p, bounds) => {
    for (const { at, said, own, beyond } of bounds) {
      if (!beyond) {
        const bound = new Bokeh.Span({ location: at, dimension: "width", line_dash: [8, 4] });
        p.add_layout(bound);
        paints.push(() => { bound.line_color = colour("red"); });
      }
      const name = new Bokeh.Label({
        x: own ? p.x_range.end : 0, y: beyond ? p.y_range.end : at, text: said, text_font_size: "11px",
        text_align: own ? "right" : "left", text_baseline: beyond || own ? "top" : "bottom", x_offset: own ? -4 : 4,
        y_offset: beyond && own ? -14 : 0,
        background_fill_alpha: 0.7,
      });
      // Where it is stays at the edge when the panel is zoomed.
      p.x_range.connect(p.x_range.change, () => { name.x = own ? p.x_range.end : p.x_range.start; });
      p.add_layout(name);
      paints.push(() => { name.text_color = colour("red"); name.background_fill_color = colour("paper"); });
    }
  };
  const line = (p, columns, y, hue, dashed, tips) => {
    const data = Object.fromEntries(Object.entries(columns).filter(([, values]) => Array.isArray(values)));
    const source = new Bokeh.ColumnDataSource({ data });
    const drawn = p.line({ field: "t" }, { field: y }, { source, line_width: 1.5, line_dash: dashed ? [6, 3] : [], color: colour(hue) });
    paints.push(() => { drawn.glyph.line_color = colour(hue); });
    if (tips) p.add_tools(new Bokeh.HoverTool({ renderers: [drawn], tooltips: tips, mode: "mouse", toggleable: false }));
    return drawn;
  };
  // Names of what is drawn; a click hides a thing, or shows it again, wherever it is drawn.
  const toggles = (things) => {
    const list = document.createElement("div");
    list.className = "toggles";
    for (const { name, hue, mark, drawn } of things) {
      const button = document.createElement("button");
      const sample = document.createElement("i");
      sample.className = mark;
      sample.style.color = `var(--${hue})`;
      if (mark === "dot") sample.style.background = `var(--${hue})`;
      button.append(sample, name);
      button.ariaPressed = "true";
      button.onclick = () => {
        const shown = button.ariaPressed !== "true";
        button.ariaPressed = String(shown);
        for (const each of drawn) each.visible = shown;
      };
      list.append(button);
    }
    live.append(list);
  };
  let heading = "";
  const place = (said, tag, p) => {
    if (said) {
      heading = said;
      const line = document.createElement(tag);
      line.textContent = said;
      live.append(line);
    }
    if (!p) return;
    const target = document.createElement("div");
    target.role = "img";
    target.ariaLabel = `${heading}, over time`;
    live.append(target);
    targets.push(target);
    all.add_root(p);
  };

  live.textContent = "";
  figure.classList.add("drawn"); // it must have a width to be drawn in
  for (const variant of data.variants) {
    place(variant.name, "h3");
    let last = null; // the lowest panel has the axis's name
    if (variant.series.length) {
      const used = panel("% of the line", 260, uses);
      const queued = panel("KiB", 150, queues);
      for (const p of [used, queued]) shade(p, variant);
      ask(used, [{ at: 100, said: "the line", own: false, beyond: false }]);
      const things = variant.series.map((s) => ({
        name: s.name,
        hue: s.colour,
        mark: s.dashed ? "dashed" : "",
        drawn: [
          line(used, s, "mean", s.colour, s.dashed, [
            ["", s.name], ["time", "@t{0.0} s"], ["mean", "@mean{0.0} %"],
            ...(s.nics > 1 ? [["least and most used", "@least{0.0} % and @most{0.0} %"]] : []),
            ["100 % is", `${s.mbit.toLocaleString("en")} Mbit/s (${s.nics} NIC${s.nics > 1 ? "s" : ""})`],
          ]),
          line(queued, s, "queue", s.colour, s.dashed, [["", s.name], ["time", "@t{0.0} s"], ["queued", "@queue{0,0.0} KiB"]]),
        ],
      }));
      place("Use of the NICs, by class", "h4");
      toggles(things);
      place("", "", used);
      place("Queued in front of the NICs, all of a class together", "h4", queued);
      last = queued;
    }
    if (variant.points.length) {
      const waits = panel("s", 190, waited);
      shade(waits, variant);
      const things = variant.points.map((kind) => {
        const failed = kind.kind === "failed";
        const hue = failed ? "red" : ["blue", "amber", "green", "pink", "sky", "grey"][data.kinds.indexOf(kind.kind) % 6];
        const source = new Bokeh.ColumnDataSource({ data: { t: kind.t, wait: kind.wait } });
        const drawn = waits.scatter({ field: "t" }, { field: "wait" }, {
          source, size: failed ? 9 : 5, marker: failed ? "x" : "circle", color: colour(hue), alpha: 0.75,
        });
        paints.push(() => { drawn.glyph.line_color = drawn.glyph.fill_color = colour(hue); });
        waits.add_tools(new Bokeh.HoverTool({
          renderers: [drawn], toggleable: false,
          tooltips: [["", kind.said], ["submitted", "@t{0.00} s"], ["waited", "@wait{0.000} s"]],
        }));
        return { name: kind.said, hue, mark: "dot", drawn: [drawn] };
      });
      place(`${data.title} of each request, by when it was submitted`, "h4");
      toggles(things);
      place("", "", waits);
      last = waits;
    }
    if (variant.machine && variant.machine.t.length) {
      const machine = panel("%", 150, share);
      shade(machine, variant);
      place("The machine", "h4");
      toggles([
        { name: "processors busy", hue: "fg", mark: "", drawn: [line(machine, variant.machine, "cpu", "fg", false, [
          ["time", "@t{0.0} s"], ["busy", "@cpu{0} %"], ["softirq", "@softirq{0} %"], ["timers late by", "@lag{0.0} ms"],
        ])] },
        { name: "of it in softirq", hue: "pink", mark: "", drawn: [line(machine, variant.machine, "softirq", "pink", false, null)] },
      ]);
      ask(machine, variant.asked_cpu);
      place("", "", machine);
      last = machine;
    }
    const timers = [];
    if (variant.late) timers.push({ name: "the latest of all programs", hue: "blue", columns: variant.late, y: "late", tips: [["", "@who"], ["time", "@t{0.0} s"], ["late by", "@late{0.0} ms"]] });
    if (variant.machine) timers.push({ name: "the monitor's own timer", hue: "green", columns: variant.machine, y: "lag", tips: null });
    if (timers.length) {
      const lags = panel("ms", variant.asked_lag.length ? 200 : 130, late);
      shade(lags, variant);
      place(variant.late ? variant.late.said : "Lateness of timers", "h4");
      toggles(timers.map(({ name, hue, columns, y, tips }) => ({ name, hue, mark: "", drawn: [line(lags, columns, y, hue, false, tips)] })));
      ask(lags, variant.asked_lag);
      place("", "", lags);
      last = lags;
    }
    if (last) last.xaxis.axis_label = "time since the start (s)";
  }
  const repaint = () => { for (const paint of paints) paint(); };
  repaint();
  await Bokeh.embed.add_document_standalone(all, live, targets);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  figure.dataset.panels = String(targets.length);
})().catch((error) => {
  document.getElementById("figure-timelines").classList.remove("drawn");
  console.error(error);
});
