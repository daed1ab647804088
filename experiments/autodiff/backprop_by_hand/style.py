"""The style sheet: that of the instrument's pages, and what this page adds."""

from parity.report.html.style import STYLE as HOUSE

STYLE = (
    HOUSE
    + """
body { max-width: 80rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; }
section p { max-width: 80ch; }
.formula { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "DejaVu Serif", Georgia, serif;
  font-size: 1.04em; white-space: pre-wrap; }
p.formula { margin: .6rem 0 .6rem 1.6rem; font-size: 1.1rem; max-width: none; overflow-x: auto; }
.big { font-size: 1.35rem !important; }
sub, sup { font-size: .7em; line-height: 0; }
.drawing { width: 100%; min-width: 62rem; height: auto; display: block; }
.drawing.narrow { max-width: 44rem; min-width: 0; }
.wide { overflow-x: auto; }
.label { text-anchor: middle; fill: var(--ink); } .label.soft { fill: var(--soft); }
.label.signal { fill: var(--inherited); } .label.signal, .label.symbol { font-family: "STIX Two Math", "Cambria Math",
  "DejaVu Serif", Georgia, serif; }
.label.name { font-weight: 600; }
.node { fill: var(--back); stroke: var(--soft); stroke-width: 1.4; }
.arrow { stroke-width: 1.6; } .arrow.forward { stroke: var(--introduced); } .arrow.back { stroke: var(--inherited); }
.head.forward { fill: var(--introduced); } .head.back { fill: var(--inherited); }
.loss { fill: none; stroke-linejoin: round; stroke-linecap: round; }
.loss.hand { stroke: var(--explained-line); } .loss.jax { stroke: var(--introduced); }
.loss.torch { stroke: var(--ink); }
:root { --explained-line: #f0b878; } @media (prefers-color-scheme: dark) { :root { --explained-line: #9a5f1c; } }
.layer { border-top: 1px solid var(--edge); padding: 1rem 0; }
.layer h3 { font-size: 1.05rem; font-weight: 600; margin: 0 0 .3rem; }
.layer h3 .hint { font-weight: 400; margin-left: .5rem; }
.rule { border-left: 3px solid var(--inherited); padding-left: .8rem; }
.layer .maps { margin-top: .8rem; display: grid; grid-template-columns: repeat(5, minmax(9.2rem, 13rem));
  gap: .8rem 1rem; overflow-x: auto; } .maps img { height: auto; } .layer .maps figcaption { white-space: nowrap; }
.maps img { border: 0; } section > .maps { margin: .8rem 0; }
summary { cursor: pointer; color: var(--soft); margin-top: .5rem; }
pre { overflow-x: auto; background: var(--back); border: 1px solid var(--edge); border-radius: 6px; padding: .8rem 1rem;
  font: .82rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
td.formula { white-space: normal; min-width: 15rem; } tr.back td { border-top-width: 2px; }
.scroll { max-height: none; }
td.different { color: var(--bad); font-weight: 600; }
"""
)
