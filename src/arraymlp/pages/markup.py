"""The markup of a page to play with, which its script fills."""

from collections.abc import Sequence
from html import escape

KEYS = (
    "Keys: the arrows move the cursor, with Shift they draw; Space or Enter draws a dot, Delete"
    " clears."
)


def markup(
    names: Sequence[str], pixels: tuple[float, float] | None, examples: bool, heading: int
) -> str:
    """The markup.

    Args:
        names: of the models to choose from.
        pixels: what an empty pixel is and a drawn one; None where the inputs are no image.
        examples: whether there are examples to choose from.
        heading: the level of its headings.
    """
    parts = [
        '<section class="amp" id="amp" aria-label="Play with the network">',
        '<noscript><p class="amp-note">This part of the page needs JavaScript.</p></noscript>',
        '<p class="amp-note" id="amp-problem" role="alert" hidden></p>',
        _choice(names),
        '<p class="amp-note" id="amp-about"></p>',
        _course(heading),
        '<div class="amp-stage">',
        _sliders(heading, examples) if pixels is None else _drawing(heading, examples, pixels),
        _layers(heading),  # on a phone below the output, which is nearer to the input
        f'<div class="amp-card amp-out">{_outputs(heading)}</div>',
        f'<div class="amp-card amp-one">{UNIT}</div>',
        "</div></section>",
    ]
    return "\n".join(parts)


def _choice(names: Sequence[str]) -> str:
    options = "".join(f"<option>{escape(name)}</option>" for name in names)
    hidden = " hidden" if len(names) < 2 else ""
    return (
        f'<p class="amp-row"{hidden}><label for="amp-model">Run</label>'
        f'<select id="amp-model" autocomplete="off">{options}</select></p>'
    )


def _course(heading: int) -> str:
    return f"""<div class="amp-card" id="amp-course" hidden>
<h{heading} id="amp-course-title">As it learned</h{heading}>
<div class="amp-row" id="amp-epochs"><label for="amp-epoch">Epoch</label>
<button type="button" id="amp-back" aria-label="earlier epoch">&#8722;</button>
<input type="range" id="amp-epoch" min="0" value="0" step="1" autocomplete="off">
<button type="button" id="amp-forth" aria-label="later epoch">+</button>
<button type="button" id="amp-play">Play</button></div>
<p class="amp-figure" id="amp-when" aria-live="polite"></p>
<div class="amp-columns"><div id="amp-curve"></div>
<div><p id="amp-live"></p><ul class="findings" id="amp-findings"></ul>
<details id="amp-more" hidden><summary id="amp-more-said"></summary>
<ul class="findings" id="amp-other-findings"></ul></details></div></div>
<p class="amp-note" id="amp-rounded"></p></div>"""


def _chooser() -> str:
    return """<div class="amp-row" id="amp-examples" role="group" aria-label="examples">
<label for="amp-example">Example</label>
<button type="button" id="amp-previous" aria-label="previous example">&#8722;</button>
<input type="number" id="amp-example" min="1" value="1" step="1" autocomplete="off">
<button type="button" id="amp-next" aria-label="next example">+</button>
<span id="amp-of"></span></div>
<p class="amp-figure" id="amp-truth"></p>"""


def _drawing(heading: int, examples: bool, pixels: tuple[float, float]) -> str:
    title = "Draw or choose" if examples else "Draw"
    return f"""<div class="amp-card"><h{heading}>{title}</h{heading}>
<div class="amp-paper" id="amp-paper"><canvas id="amp-draw" tabindex="0" role="application"
aria-label="drawing" aria-describedby="amp-keys"></canvas><i id="amp-cursor"></i></div>
<p class="amp-hidden" id="amp-said" aria-live="polite"></p>
<div class="amp-row"><button type="button" id="amp-clear">Clear</button>
<canvas id="amp-seen" role="img" aria-label="the drawing as the network sees it"></canvas></div>
<p><label><input type="checkbox" id="amp-centre" autocomplete="off"> centre a drawing by its
mass, as MNIST's digits are</label></p>
<p class="amp-note" id="amp-keys">{KEYS} An empty pixel is {pixels[0]:.4g}, a drawn one
{pixels[1]:.4g}.</p>
{_chooser() if examples else ""}</div>"""


def _sliders(heading: int, examples: bool) -> str:
    return f"""<div class="amp-card"><h{heading}>Inputs</h{heading}>
{_chooser() if examples else ""}
<div id="amp-sliders"></div></div>"""


def _outputs(heading: int) -> str:
    return f"""<h{heading}>Output</h{heading}>
<p class="amp-figure" id="amp-answer" aria-live="polite"></p>
<ul class="amp-bars" id="amp-bars"></ul><p class="amp-note" id="amp-spread"></p>
<div id="amp-plane" hidden><canvas id="amp-map" role="img"></canvas>
<p class="amp-note" id="amp-map-key"></p></div>"""


def _layers(heading: int) -> str:
    return f"""<div class="amp-card amp-last"><h{heading}>Layers</h{heading}>
<p class="amp-row" id="amp-members" hidden><label for="amp-member">Network</label>
<select id="amp-member" autocomplete="off"></select></p>
<div id="amp-layers"></div>
<p class="amp-note">Point at a unit, or tap it, to see its incoming weights. Keys: the arrows move
from unit to unit.</p></div>"""


UNIT = """<div id="amp-unit"><p class="amp-figure" id="amp-unit-title"></p>
<canvas id="amp-weights" role="img" hidden></canvas>
<ul class="amp-bars" id="amp-strongest" hidden></ul><div class="amp-key" id="amp-weights-key"></div>
<p class="amp-note" id="amp-unit-note"></p></div>"""
