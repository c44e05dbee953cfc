"""The page in a browser: what it predicts, and that all of it can be used with keys alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arraymlp import Run, train
from arraymlp.data.frames.frame import Frame, Texts
from arraymlp.datasets import load_mnist
from browser import emulate, the_browser, until, violations

pytestmark = pytest.mark.xdist_group("browser")
TITLE = "A page </title></script><b>of & digits"


@pytest.fixture(scope="module")
def browser() -> Any:
    return the_browser()


@pytest.fixture(autouse=True)
def nothing_in_the_console(browser: Any) -> Iterator[None]:
    browser.get_log("browser")
    yield
    assert browser.get_log("browser") == []


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A network that learns some digits, and its page."""
    mnist = load_mnist()
    run = train(
        mnist.X_train[:4000],
        mnist.y_train[:4000],
        validation=(mnist.X_test[:1000], mnist.y_test[:1000]),
        hidden=(30, 20),
        epochs=4,
        batch_size=50,
        snapshots=5,
        probes=True,
        backend="numpy",
    )
    path = tmp_path_factory.mktemp("pages") / "digits.html"
    run.page(path, title=TITLE)
    return run, path


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A ring around a disc, two features, and its page."""
    X = np.random.default_rng(0).normal(size=(300, 2))
    y = np.where((X**2).sum(axis=1) > 1.2, "ring", "disc")
    run = train(X, y, validation=0.2, epochs=25, snapshots=4, hidden=(16,), backend="numpy")
    path = tmp_path_factory.mktemp("pages") / "plane.html"
    run.page(path)
    return run, path


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Frame, Path]:
    """A table of numbers, texts and dates, three members, and its page."""
    rng, n = np.random.default_rng(0), 200
    age = np.where(rng.random(n) < 0.2, np.nan, rng.integers(1, 80, n))
    port = Texts(rng.integers(-1, 3, n).astype(np.int32), ("S", "<C>", "Q"))
    when = np.datetime64("2020-01-01", "s") + rng.integers(0, 1000, n) * np.timedelta64(1, "D")
    frame = Frame(("age", "port", "when"), (age, port, when))
    from arraymlp import TableEncoder

    run = train(
        frame,
        np.nan_to_num(age) + 5.0 * port.codes,
        encode=TableEncoder(dates=True),
        epochs=5,
        seed=range(3),
        snapshots=3,
        backend="numpy",
    )
    path = tmp_path_factory.mktemp("pages") / "mixed.html"
    run.page(path)
    return run, frame, path


def opened(browser: Any, path: Path, **how: Any) -> Any:
    """The page, once it works, as Selenium's driver."""
    emulate(browser, **how)
    browser.get(path.as_uri())
    until(
        browser, lambda b: b.execute_script("return Boolean(document.querySelector('.amp').play)")
    )
    return browser


def element(page: Any, name: str) -> Any:
    return page.find_element("id", f"amp-{name}")


def predicted(page: Any) -> Any:
    """What the page predicts now."""
    return np.array(page.execute_script(
        "const { play } = document.querySelector('.amp');"
        "return Array.from(play.predict(play.inputs.cells()).mean)"
    ))  # fmt: skip


def cells(page: Any) -> Any:
    """What the network sees."""
    return np.array(page.execute_script(
        "return Array.from(document.querySelector('.amp').play.inputs.cells())"
    ), dtype=float)  # fmt: skip


def pixels(page: Any, name: str) -> Any:
    """A canvas as (height, width, 4); of a copy, since Chromium warns who reads one often."""
    flat, width = page.execute_script(
        "const [c] = arguments, copy = new OffscreenCanvas(c.width, c.height);"
        "const pen = copy.getContext('2d', { willReadFrequently: true }); pen.drawImage(c, 0, 0);"
        "return [Array.from(pen.getImageData(0, 0, c.width, c.height).data), c.width]",
        element(page, name),
    )
    return np.array(flat, dtype=np.uint8).reshape(-1, width, 4)


def press(page: Any, name: str, *keys: str) -> None:
    element(page, name).send_keys(*keys)


def keys() -> Any:
    from selenium.webdriver.common.keys import Keys

    return Keys


# Images


def test_it_predicts_what_the_network_does_for_all_examples(
    browser: Any, digits: tuple[Run, Path]
) -> None:
    run, path = digits
    page = opened(browser, path)
    X, p = page.execute_script(
        "const { play } = document.querySelector('.amp'), { rows } = play.content.shown;"
        "return [rows.map((r) => Array.from(r)), rows.map((r) => Array.from(play.predict(r).mean))]"
    )
    X = np.array(X, dtype=np.float32)
    assert len(X) == 200
    rows = np.linspace(0, 999, 200).round().astype(int)
    np.testing.assert_allclose(X, load_mnist().X_test[rows], atol=1e-6)
    np.testing.assert_allclose(p, run.predict_proba(load_mnist().X_test[rows]), atol=1e-5)
    assert element(page, "truth").text == f"true class: {load_mnist().y_test[0]}"
    assert page.find_element("tag name", "h1").text == TITLE


def test_a_digit_is_drawn_with_the_pointer(browser: Any, digits: tuple[Run, Path]) -> None:
    from selenium.webdriver import ActionChains

    run, path = digits
    page = opened(browser, path)
    paper = element(page, "draw")
    chain = ActionChains(page, duration=20).move_to_element_with_offset(paper, 30, -100)
    chain.click_and_hold().move_by_offset(0, 60).move_by_offset(0, 120).release().perform()
    ink = cells(page).reshape(28, 28)
    assert ink.max() == 1
    down, across = np.argwhere(ink > 0.5).T
    assert 18 <= np.ptp(down) + 1 <= 22, "a line of 180 of 280 pixels"
    assert np.ptp(across) + 1 <= 4
    centre = (ink * np.arange(28)).sum() / ink.sum()
    assert abs(centre - 13.5) <= 0.5, "in the middle, as the box is ticked"
    expected = run.predict_proba(cells(page)[None])[0]
    np.testing.assert_allclose(predicted(page), expected, atol=1e-5)
    assert element(page, "answer").text.startswith(f"{expected.argmax()}, ")
    assert element(page, "truth").text == ""
    element(page, "centre").click()
    moved = cells(page).reshape(28, 28)
    assert (moved * np.arange(28)).sum() / moved.sum() > centre + 2, "where it was drawn"


def test_a_digit_is_drawn_with_the_keys(browser: Any, digits: tuple[Run, Path]) -> None:
    run, path = digits
    page = opened(browser, path)
    Keys = keys()
    press(page, "draw", Keys.DELETE)
    assert not cells(page).any()
    blank = predicted(page)
    np.testing.assert_allclose(blank, run.predict_proba(np.zeros((1, 784)))[0], atol=1e-5)
    press(page, "draw", *[Keys.ARROW_UP] * 6, " ", *[Keys.ARROW_LEFT] * 3, Keys.ENTER)
    press(page, "draw", Keys.SHIFT + Keys.ARROW_DOWN * 12 + Keys.NULL)
    assert element(page, "said").text.startswith("row 21, column 12, drawn")
    ink = cells(page)
    np.testing.assert_allclose(predicted(page), run.predict_proba(ink[None])[0], atol=1e-5)
    assert not np.allclose(predicted(page), blank, atol=1e-3)
    element(page, "clear").click()
    assert not cells(page).any()


def test_the_slider_goes_through_the_epochs(browser: Any, digits: tuple[Run, Path]) -> None:
    run, path = digits
    page = opened(browser, path)
    Keys = keys()
    assert [s.epoch for s in run.snapshots] == [-1, 0, 1, 2, 3]
    slider = element(page, "epoch")
    assert slider.get_attribute("aria-valuetext") == "epoch 3"
    before = predicted(page)
    slider.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    said = element(page, "when").text
    error, steps = run.history["validation_error"][1], run.history["step"][1]
    assert said.startswith(f"After epoch 1, {steps:,} steps: validation error")
    assert f"{100 * error:.3g} %" in said
    assert not np.allclose(predicted(page), before, atol=1e-5)
    last = [m for m in run.measurements if m.epoch == 1][-1]
    live = " ".join(
        f"layer {i + 1}: {part * width:g} of {width} units live,"
        for i, (part, width) in enumerate(zip(last.active_units, (30, 20), strict=True))
    )
    assert element(page, "live").text.startswith(live)
    slider.send_keys(Keys.HOME)
    assert element(page, "when").text == "Before the first step"
    assert slider.get_attribute("aria-valuetext") == "as drawn"
    element(page, "forth").click()
    assert slider.get_attribute("aria-valuetext") == "epoch 0"
    shown = {f.text.split()[0] for f in page.find_elements("css selector", "#amp-findings b")}
    assert shown <= {f.kind.split("_")[0] for f in run.findings if (f.from_epoch or 0) <= 0}
    assert "learned" not in shown, "that is said of the end"
    element(page, "play").click()
    until(page, lambda b: slider.get_attribute("aria-valuetext") == "epoch 3")
    until(page, lambda b: element(b, "play").text == "Play")
    np.testing.assert_allclose(predicted(page), before, atol=1e-12)
    assert element(page, "findings").text.startswith(run.findings[0].kind.replace("_", " "))
    assert run.findings[0].sentence in element(page, "findings").text


def test_earlier_weights_are_rounded_and_decide_alike(
    browser: Any, digits: tuple[Run, Path]
) -> None:
    run, path = digits
    page = opened(browser, path)
    all_stops = page.execute_script(
        "const { play } = document.querySelector('.amp'), out = [];"
        "for (const stop of play.snapshots.keys()) { play.course.stop = stop;"
        "  out.push(play.content.shown.rows.map((row) => Array.from(play.predict(row).mean))); }"
        "return out"
    )
    X = load_mnist().X_test[np.linspace(0, 999, 200).round().astype(int)]
    network = run.network.copy()
    assert len(all_stops) == len(run.snapshots)
    for snapshot, p in zip(run.snapshots, np.array(all_stops), strict=True):
        for layer, (weights, bias) in zip(network.layers, snapshot.parameters, strict=True):
            layer.weights, layer.bias = weights, bias
        expected = network.predict_proba(X)
        if snapshot.epoch >= 0:  # before, all classes are nearly as probable
            assert (p.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 0.99
        tolerance = 1e-5 if snapshot is run.snapshots[-1] else 0.1
        np.testing.assert_allclose(p, expected, atol=tolerance)


def test_a_unit_shows_its_weights(browser: Any, digits: tuple[Run, Path]) -> None:
    from selenium.webdriver import ActionChains

    run, path = digits
    page = opened(browser, path)
    Keys = keys()
    first, second, _ = page.find_elements("css selector", "#amp-layers canvas")
    caches = run.network.forward(cells(page)[None].astype(np.float32))
    first.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert first.get_attribute("aria-valuenow") == "3"
    assert f"unit 3 of 30, output {caches[0].z[0, 2]:.4g}"[:30] in first.get_attribute(
        "aria-valuetext"
    )
    assert element(page, "unit-title").text.startswith("Unit 3 of layer 1: s = ")
    bias = run.network.layers[0].bias[0, 2]
    assert f"its bias is {bias:.4g}"[:18] in element(page, "unit-note").text
    drawn = pixels(page, "weights")
    n = drawn.shape[1] // 28
    drawn = drawn[n // 2 :: n, n // 2 :: n].astype(int)
    column = run.network.layers[0].weights[:, 2]
    assert np.corrcoef((drawn[..., 0] - drawn[..., 2]).ravel(), column)[0, 1] > 0.95, (
        "red above 0, blue below"
    )
    ActionChains(page).move_to_element_with_offset(second, -150, 0).perform()
    assert "of layer 2" in element(page, "unit-title").text


# Tables


def test_sliders_choices_and_missing_values(browser: Any, mixed: tuple[Run, Frame, Path]) -> None:
    run, frame, path = mixed
    page = opened(browser, path)
    Keys = keys()
    age = page.find_element("css selector", "#amp-input-0")
    age.send_keys(Keys.CONTROL + "a" + Keys.NULL, "33", Keys.TAB)
    port = page.find_element("css selector", "#amp-input-1")
    assert [o.text for o in port.find_elements("tag name", "option")][:3] == ["<C>", "Q", "S"]
    port.send_keys("Q")
    when = cells(page)[2]
    date = np.array([int(when)], dtype="datetime64[D]").astype("datetime64[s]")

    def expected(years: float, text: str) -> Any:
        row = Frame(frame.names, (np.array([years]), Texts(np.array([0]), (text,)), date))
        return run.predict(row)

    np.testing.assert_allclose(predicted(page), expected(33, "Q"), rtol=1e-5)
    slider = page.find_element("css selector", "#amp-sliders input[type=range]")
    slider.send_keys(Keys.ARROW_RIGHT)
    np.testing.assert_allclose(predicted(page), expected(34, "Q"), rtol=1e-5)
    page.find_element("css selector", "#amp-sliders input[type=checkbox]").click()
    np.testing.assert_allclose(predicted(page), expected(np.nan, "Q"), rtol=1e-5)
    page.find_element("css selector", "#amp-sliders input[type=checkbox]").click()
    np.testing.assert_allclose(predicted(page), expected(34, "Q"), rtol=1e-5)
    assert "\u00b1" in element(page, "answer").text, "three members disagree"
    element(page, "member").send_keys("3")
    assert element(page, "member").get_attribute("value") == "2"


def test_the_plane_of_two_features(browser: Any, plane: tuple[Run, Path]) -> None:
    run, path = plane
    page = opened(browser, path)
    Keys = keys()

    def colours() -> Any:
        x, y = (page.execute_script(f"return document.querySelector('.amp').play.plane.{v}")
                for v in "xy")  # fmt: skip
        drawn, places = pixels(page, "map"), ((0.02, 0.03), (1.9, -1.8))
        return [
            drawn[int(384 * (y[1] - b) / (y[1] - y[0])), int(384 * (a - x[0]) / (x[1] - x[0]))]
            for a, b in places
        ]

    labels = run.predict([[0.02, 0.03], [1.9, -1.8]]).tolist()
    assert labels == ["disc", "ring"]
    disc, ring = colours()
    assert disc[2] > disc[0], "blue, the first class"
    assert ring[0] > ring[2], "red, the second"
    element(page, "epoch").send_keys(Keys.HOME)
    assert not np.array_equal(colours(), [disc, ring])
    assert "disc" in element(page, "map-key").text


# For everybody


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1100, 360])
@pytest.mark.parametrize("what", ["digits", "plane", "mixed"])
def test_everyone_can_use_it(
    browser: Any, request: pytest.FixtureRequest, what: str, dark: bool, width: int
) -> None:
    path = request.getfixturevalue(what)[-1]
    page = opened(browser, path, dark=dark, width=width)
    assert violations(page) == []
    background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(22, 22, 22)" if dark else "rgb(255, 255, 255)")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_nothing_moves_by_itself_where_motion_is_reduced(
    browser: Any, digits: tuple[Run, Path]
) -> None:
    page = opened(browser, digits[1], still=True)
    assert not element(page, "play").is_displayed()
    assert element(page, "forth").is_displayed()


def test_a_browser_without_what_is_needed_says_so(browser: Any, digits: tuple[Run, Path]) -> None:
    emulate(browser)
    remove = {"source": "delete window.DecompressionStream"}
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", remove)
    try:
        browser.get(digits[1].as_uri())
        problem = element(browser, "problem")
        until(browser, lambda _: problem.is_displayed())
        assert "DecompressionStream is not defined" in problem.text
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
        browser.get_log("browser")
