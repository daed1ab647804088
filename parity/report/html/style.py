"""The style sheet of the page."""

from parity.report.html import heat

STYLE = """
:root { color-scheme: light dark;
  --back: #f6f7f9; --card: #ffffff; --ink: #1b1f24; --soft: #5d6773; --edge: #dde2e8; --hover: #f0f3f7;
  --good: #1a7f4b; --bad: #c8262c; --warn: #a35f00; --info: #0b6b8a; --odd: #8437a8;
  --introduced: #2460c8; --inherited: #d9822b; --allowed: #1a7f4b; --rounding: #9aa4b0; --explained: #1a7f4b14; }
@media (prefers-color-scheme: dark) { :root {
  --back: #101418; --card: #181d23; --ink: #e4e8ed; --soft: #97a3b0; --edge: #2c343d; --hover: #202730;
  --good: #4cc38a; --bad: #ff6b6b; --warn: #f0a849; --info: #58c4e4; --odd: #cf9bec;
  --introduced: #7aa8ff; --inherited: #f0a04b; --allowed: #4cc38a; --rounding: #6d7885; --explained: #4cc38a16; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 84rem; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
header, .card { background: var(--card); border: 1px solid var(--edge); border-radius: 10px; padding: 1.1rem 1.3rem;
  margin: 0 0 1rem; }
.kicker { margin: 0; color: var(--soft); font-size: .85rem; }
h1 { display: flex; flex-wrap: wrap; align-items: center; gap: .6rem .9rem; margin: .4rem 0 .9rem; font-size: 1.3rem; }
h2 { margin: 0 0 .6rem; font-size: 1.05rem; } h3 { margin: 1rem 0 .5rem; font-size: .92rem; font-weight: 500; }
p { margin: .35rem 0; max-width: 75ch; } ul { margin: .4rem 0; padding-left: 1.2rem; }
.verdict { padding: .15rem .8rem; border-radius: 6px; color: var(--card); text-transform: uppercase;
  letter-spacing: .04em; font-size: 1.15rem; }
.verdict.equivalent { background: var(--good); } .verdict.divergent { background: var(--bad); }
.verdict.inconclusive { background: var(--warn); }
.headline { font-weight: 600; }
.facts { display: flex; flex-wrap: wrap; gap: .5rem 2rem; margin: .4rem 0; }
.facts dt { color: var(--soft); font-size: .8rem; } .facts dd { margin: 0; font-weight: 500; }
.name, code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .92em; }
.facts.sides dd { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .88em; }
.divergence, .causes { border-left: 4px solid var(--bad); } .accepted { border-left: 4px solid var(--info); }
.cause + .cause { border-top: 1px solid var(--edge); margin-top: .7rem; padding-top: .5rem; }
.cause .id { font-size: 1.02rem; } .hint { color: var(--soft); font-size: .88rem; }
.bar { display: grid; grid-template-columns: 6.5rem minmax(8rem, 22rem) auto; gap: .8rem; align-items: center; }
progress { width: 100%; height: .6rem; accent-color: var(--good); }
.depths { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(34rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; } figcaption { font-size: .85rem; color: var(--soft); margin-bottom: .2rem; }
.depths svg { width: 100%; height: auto; display: block; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; list-style: none; padding: 0; font-size: .85rem;
  color: var(--soft); } .legend svg { vertical-align: -1px; margin-right: .4rem; }
.grid { stroke: var(--edge); stroke-width: 1; } .axis { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 1 3; }
.stage { stroke: var(--edge); stroke-width: 1; stroke-dasharray: 3 3; }
.tick { fill: var(--soft); font-size: 11px; } .tick.end { text-anchor: end; } .tick.middle { text-anchor: middle; }
.tick.bad { fill: var(--bad); font-weight: 600; font-size: 12px; }
.explained { fill: var(--explained); } .allowed { stroke: var(--allowed); stroke-width: 1.4; fill: none; }
.rounding { stroke: var(--rounding); stroke-width: 1.4; stroke-dasharray: 2 4; fill: none; }
.inherited { stroke: var(--inherited); stroke-width: 1.6; fill: none; stroke-linejoin: round; }
.first { stroke: var(--bad); stroke-width: 1; stroke-dasharray: 4 3; }
.dot { fill: var(--introduced); } .dot.inherited { stroke: none; fill: var(--introduced); }
.dot.divergent { fill: var(--bad); } .dot.accepted { fill: var(--info); }
.dot.reference-inexact { fill: var(--odd); } .dot.no-signal { fill: var(--rounding); }
a:hover .dot { stroke: var(--ink); stroke-width: 1.5; }
.maps { display: flex; flex-wrap: wrap; gap: .9rem 1.3rem; align-items: flex-start; }
.maps img { image-rendering: pixelated; display: block; border: 1px solid var(--edge); max-width: 100%; }
.maps figcaption { max-width: 13rem; } small { color: var(--soft); display: block; }
.tensor + .tensor { border-top: 1px solid var(--edge); margin-top: 1rem; }
.bar-legend { display: flex; gap: .4rem; align-items: center; font-size: .75rem; color: var(--soft); }
.scale { display: inline-block; width: 4rem; height: .5rem; } .scale.gap { background: GAP; }
.scale.value { background: VALUE; }
.filters { display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; margin-bottom: .6rem; }
.filters input, .filters select { font: inherit; font-size: .88rem; padding: .25rem .5rem; border-radius: 6px;
  border: 1px solid var(--edge); background: var(--back); color: var(--ink); }
.filters input { min-width: 15rem; } output { color: var(--soft); font-size: .85rem; }
.scroll { overflow: auto; max-height: 44rem; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; vertical-align: bottom; }
#layers > thead th { position: sticky; top: 0; background: var(--card); z-index: 1;
  box-shadow: 0 1px 0 var(--edge); }
th button, td button { all: unset; cursor: pointer; } th button { padding: .3rem .45rem; }
th[aria-sort] button { color: var(--introduced); } th[aria-sort=ascending] button::after { content: " ▲"; }
th[aria-sort=descending] button::after { content: " ▼"; }
button:focus-visible, a:focus-visible { outline: 2px solid var(--introduced); outline-offset: 2px; }
td { padding: .22rem .45rem; border-top: 1px solid var(--edge); white-space: nowrap; }
td button.name { white-space: normal; overflow-wrap: anywhere; }
.end { text-align: right; } td button.name::before { content: "▸ "; color: var(--soft); }
td button.name[aria-expanded=true]::before { content: "▾ "; }
#layers > tbody > tr:first-child:hover, tbody:target > tr:first-child { background: var(--hover); }
.status { font-weight: 600; } .status.equivalent { color: var(--good); } .status.no-signal { color: var(--soft); }
.status.divergent, td.divergent { color: var(--bad); font-weight: 600; }
.status.inherited, td.inherited { color: var(--warn); } .status.accepted, td.accepted { color: var(--info); }
.status.reference-inexact, td.reference-inexact { color: var(--odd); }
.tensors > td > div { max-width: min(80rem, calc(100vw - 7rem)); overflow-x: auto; }
.tensors > td { background: var(--back); white-space: normal; } .tensors table { font-size: .95em; }
.tensors th { font-weight: 500; color: var(--soft); padding: .2rem .5rem; }
@media print { .filters { display: none; } .scroll { max-height: none; } }
""".replace("GAP;", f"{heat.gradient('gap')};").replace("VALUE;", f"{heat.gradient('value')};")
