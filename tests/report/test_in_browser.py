"""The report in a real Chromium: it draws, sorts, searches, is reached by keys, fetches and runs nothing foreign."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import opened as browser_opened
from browser import problems, requests_of
from llmtrain.data.examples import Example
from llmtrain.report.write_report import write_report
from reports import documents, write_run, written

CONTRAST, PAINTED = (Path(__file__).parents[1].joinpath(name).read_text(encoding="utf-8")
                     for name in ("contrast.js", "painted.js"))
EVIL = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=2><svg onload=window.hacked=3>"
ROWS = 60


def hostile(rows: list[Example], predictions: list[str]) -> tuple[list[Example], list[str]]:
    """Rows with others among them that try to be more than text."""
    texts = [(f"{EVIL} a b", EVIL), ("NUL \0 ESC \x1b[31m {{7*7}} ${7*7}", "NUL \0"), ("שלום עולם טוב", "שלום עולם"),
             ("你好，世界。今天天气很好。", "今天天气很好"), ("😀 a 𝒳 b c", "😀 a 𝒳 b zebra"),
             ("word " * 400_000, "word word")]
    evil = [Example(f"{EVIL}{place}", source, "wanted words", ("wanted words",) if place else (EVIL,))
            for place, (source, _) in enumerate(texts)]
    return [*rows, *evil], [*predictions, *(prediction for _, prediction in texts)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds on rows that are sorted by nothing, hostile ones among them."""
    root, plain = tmp_path_factory.mktemp("page"), documents(ROWS)
    runs = []
    for seed, right in enumerate((2, 3)):
        examples, predictions = hostile(plain, written(plain, right))
        runs.append(write_run(root / f"seed{seed}", "summarization", examples, predictions, seed=seed, skipped=seed,
                              baselines=False))
    return write_report(runs)


@pytest.fixture(scope="module")
def labels_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels with their probabilities."""
    root = tmp_path_factory.mktemp("labels")
    examples = [Example(f"{n}", f"text {n}", "good" if n % 2 else "bad", ("good" if n % 2 else "bad",))
                for n in range(30)]
    given = ["good" if n % 3 else "bad" for n in range(30)]
    sure = [{"probabilities": {"good": 0.5 + n / 70 if label == "good" else 0.4 - n / 90,
                               "bad": 0.5 - n / 70 if label == "good" else 0.6 + n / 90}}
            for n, label in enumerate(given)]
    return write_report([write_run(root / "run", "classification", examples, given, details=sure)])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browser_opened(1280) as made:
        yield made


def script(browser: Any, text: str, *arguments: Any) -> Any:
    """What a script gives that runs in the page."""
    return browser.execute_script(text, *arguments)


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    problems(browser)
    requests_of(browser)
    browser.get(page.as_uri())
    return browser


def click(browser: Any, css: str) -> None:
    script(browser, "document.querySelector(arguments[0]).click()", css)


def column(browser: Any, index: int) -> list[str]:
    return script(browser, "return [...document.querySelectorAll('.rows tbody tr:not(:has(.detail))')]"
                           ".map((row) => row.children[arguments[0]].textContent)", index)


def status(browser: Any) -> str:
    return script(browser, "return document.querySelector('.pager [role=status]').textContent")


def test_nothing_foreign_runs_and_nothing_is_fetched(opened: Any) -> None:
    for _ in range(3):  # every row of every page, opened
        script(opened, "document.querySelectorAll('.rows tbody th button[aria-expanded=false]').forEach((b) => "
                       "b.click()); document.querySelectorAll('.pager button')[1].click()")
    assert script(opened, "return window.hacked ?? null") is None
    assert script(opened, "return document.querySelectorAll('script').length") == 2
    assert script(opened, "return document.querySelectorAll('img, iframe, object, main svg[onload]').length") == 0
    assert problems(opened) == []
    asked = [url for url in requests_of(opened) if not url.startswith("data:")]
    assert len(asked) == 1, asked  # the file itself
    shown = script(opened, "return document.querySelector('.predictions').textContent")
    assert "<script>window.hacked=1</script>" in shown and "NUL ␀" in shown
    assert "characters are left out here" in script(opened, "return document.body.textContent")


def test_the_rule_of_the_page_stops_a_script_that_is_not_its_own(opened: Any) -> None:
    script(opened, "const evil = document.createElement('script'); evil.textContent = 'window.hacked = 9';"
                   "document.body.append(evil)")
    assert script(opened, "return window.hacked ?? null") is None
    assert "Content Security Policy" in problems(opened)[0]


def test_charts_are_drawn_and_follow_their_controls(opened: Any) -> None:
    painted = script(opened, PAINTED)
    assert len(painted) >= 10 and min(painted) > 50, painted
    assert script(opened, "return document.querySelectorAll('#charts figure').length") == len(painted)
    marked = script(opened, "const i = DATA.charts.findIndex((c) => c.marks); return linesOf(DATA.charts[i])"
                            ".map((line) => [line.run, Math.max(...line.counts)])")
    assert marked == [[0, 0], [1, 1]]  # the second run skipped a step
    before = script(opened, "return document.querySelector('#charts .readout').textContent")
    click(opened, "#curve-controls input[type=checkbox]")
    after = script(opened, "return document.querySelector('#charts .readout').textContent")
    assert "seed0" in before and "seed0" not in after and "seed1" in after
    script(opened, "const s = document.querySelector('#curve-controls select'); s.value = 'minutes';"
                   "s.dispatchEvent(new Event('change'))")
    assert "minutes of training 0.1" in script(opened, "return document.querySelector('#charts .readout').textContent")
    script(opened, "const s = document.querySelector('#curve-controls input[type=range]'); s.value = 0.9;"
                   "s.dispatchEvent(new Event('input'))")
    count = "return document.querySelector('#charts figure').plot.series.length"
    assert script(opened, count) == 1 + 2 + 1  # the raw line stays behind the smoothed one, beside held-out
    assert script(opened, "return smoothed([1, 3], 0.5)") == [1, pytest.approx(7 / 3)]
    click(opened, "#weighted")
    key = "return linesOf(DATA.charts.find((c) => c.weighted.length))[0].line.key"
    assert script(opened, key).endswith(".weighted")


def test_rows_are_sorted_filtered_searched_and_paged(opened: Any) -> None:
    total = ROWS + 6
    assert status(opened) == f"rows 1 to 25 of {total}" and column(opened, 0)[0] == "▸ row-0"
    click(opened, "[data-sort=run0]")
    scores = [float(text) for text in column(opened, 3)]
    assert scores == sorted(scores, reverse=True) and scores[0] == 100
    click(opened, "[data-sort=run0]")
    assert float(column(opened, 3)[0]) == 0
    assert script(opened, "return document.querySelector('[aria-sort]').getAttribute('aria-sort')") == "ascending"
    click(opened, "[data-filter=worst]")
    assert status(opened) == "rows 1 to 25 of 50" and float(column(opened, 3)[0]) == 0
    click(opened, "[data-filter=best]")
    assert float(column(opened, 3)[0]) == 100
    click(opened, "[data-filter=change]")
    changes = [float(text) for text in column(opened, 5)]
    assert changes == sorted(changes, reverse=True) and changes[0] == 100
    click(opened, "[data-filter=wrong]")
    assert column(opened, 6)[0] == "100 %"
    click(opened, "[data-filter=source]")
    assert script(opened, "return document.querySelector('.rows .preview').textContent").startswith("word word")
    click(opened, "[data-filter=all]")
    script(opened, "const s = document.querySelector('input[type=search]'); s.value = 'ZEBRA';"
                   "s.dispatchEvent(new Event('input'))")
    assert status(opened) == "rows 1 to 1 of 1"
    script(opened, "const s = document.querySelector('input[type=search]'); s.value = 'nowhere at all';"
                   "s.dispatchEvent(new Event('input'))")
    assert "No row holds" in script(opened, "return document.querySelector('.predictions').textContent")
    script(opened, "const s = document.querySelector('input[type=search]'); s.value = '';"
                   "s.dispatchEvent(new Event('input'))")
    click(opened, ".pager button:nth-child(2)")
    assert status(opened) == f"rows 26 to 50 of {total}"
    click(opened, "button[data-show=wrong]")  # the verdict's own way to the rows
    assert script(opened, "return document.querySelector('[data-filter=wrong]').ariaPressed") == "true"


def open_row(browser: Any, words: str) -> None:
    script(browser, "const s = document.querySelector('input[type=search]'); s.value = arguments[0];"
                    "s.dispatchEvent(new Event('input'));"
                    "document.querySelector('.rows tbody th button').click()", words)


def marks(browser: Any, place: str) -> list[list[str]]:
    return script(browser, "return [...document.querySelectorAll(`.detail ${arguments[0]} mark`)]"
                           ".map((mark) => [mark.className, mark.textContent])", place)


def test_evidence_and_differences_are_shown_in_a_row(opened: Any) -> None:
    open_row(opened, "zebra")
    assert ["new found", "zebra"] in marks(opened, ".output")  # behind characters that count double in JavaScript
    assert ["copied", "a 𝒳 b"] in marks(opened, ".source") or ["wrong", "a 𝒳 b"] in marks(opened, ".source")
    open_row(opened, "今天天气")
    assert any(text == "今天天气很好" for _, text in marks(opened, ".source")) or any(
        "今天天气" in text for _, text in marks(opened, ".source"))
    open_row(opened, "row-3")
    script(opened, "const s = document.querySelector('[data-view]'); s.value = 'reference'; s.dispatchEvent(new Event("
                   "'change', {bubbles: true}))")
    assert script(opened, "return document.querySelectorAll('.detail ins, .detail del').length") > 0
    assert script(opened, "return difference('the cat sat', 'the dog sat')") == [
        [0, "the "], [-1, "cat"], [1, "dog"], [0, " sat"]]
    assert script(opened, "return difference('今天很好', '今天好')") == [[0, "今天"], [-1, "很"], [0, "好"]]
    assert script(opened, "return difference('a '.repeat(9000), 'b '.repeat(9000))") is None
    assert script(opened, "const p = document.createElement('p');"
                          "showMarked(p, '😀 ab', [{start: 2, end: 4, kind: 'answer'}]);"
                          "return p.querySelector('mark').textContent") == "ab"


def test_right_to_left_texts_keep_to_themselves(opened: Any) -> None:
    open_row(opened, "שלום")
    assert script(opened, "return getComputedStyle(document.querySelector('.detail .source .text')).direction") == "rtl"
    assert script(opened, "return getComputedStyle(document.querySelector('.detail')).direction") == "ltr"


def test_all_is_reached_and_worked_by_keys(opened: Any) -> None:
    from selenium.webdriver import ActionChains, Keys

    def press(key: str) -> None:
        ActionChains(opened).send_keys(key).perform()

    wanted = script(opened, "return [...document.querySelectorAll('a[href], button:not(:disabled), input, select,"
                            " summary, [tabindex=\"0\"]')].filter((e) => e.checkVisibility()).length")
    seen = set()
    for _ in range(wanted + 5):
        press(Keys.TAB)
        seen.add(script(opened, "const e = document.activeElement; if (!e || e === document.body) return null;"
                                "e.dataset.seen ??= String(Math.random()); return e.dataset.seen"))
    assert len(seen - {None}) == wanted
    script(opened, "document.querySelector('#charts .plot').focus()")
    press(Keys.HOME)
    assert "step 1 " in script(opened, "return document.querySelector('#charts .readout').textContent + ' '").replace(
        "step 1seed", "step 1 seed")
    assert script(opened, "return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    script(opened, "document.querySelector('.rows tbody th button').focus()")
    press(Keys.ENTER)
    assert script(opened, "return document.activeElement.ariaExpanded") == "true"
    press(Keys.SPACE)
    assert script(opened, "return document.activeElement.ariaExpanded") == "false"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast_is_enough_in_both_themes(opened: Any, theme: str) -> None:
    open_row(opened, "zebra")
    wanted = [{"name": "prefers-color-scheme", "value": theme}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})
    found = script(opened, CONTRAST)
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert found["seen"] > 150 and found["bad"] == []


def test_a_phone_scrolls_down_alone(opened: Any) -> None:
    open_row(opened, "zebra")
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                           {"width": 360, "height": 780, "deviceScaleFactor": 2, "mobile": True})
    try:
        opened.refresh()
        wide = script(opened, "return [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1] == 360
        assert min(script(opened, PAINTED)) > 50
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_labels_have_their_confusions_calibration_and_probabilities(browser: Any, labels_page: Path) -> None:
    problems(browser)
    browser.get(labels_page.as_uri())
    heat = script(browser, "return [...document.querySelectorAll('table.heat td')].map((c) => [c.textContent, "
                           "c.style.getPropertyValue('--heat')])")
    assert heat == [["5", "0.333"], ["10", "0.667"], ["5", "0.333"], ["10", "0.667"]]
    assert script(browser, "return document.querySelector('.pictures h4').textContent") == "Calibration"
    assert min(script(browser, PAINTED)) > 50
    script(browser, "document.querySelector('.rows tbody th button').click()")
    assert script(browser, "return [...document.querySelectorAll('.chances bdi')].map((b) => b.textContent)") == [
        "bad", "good"]
    assert script(browser, CONTRAST)["bad"] == []
    assert problems(browser) == []
