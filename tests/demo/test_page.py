"""The page in a real browser: texts in, answers side by side, whatever a text holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.demo.conftest import HOSTILE, Client

from browser import opened, problems, requests_of

WIDTHS = {"phone": 390, "desk": 1200}


@pytest.fixture(scope="module")
def page(client: Client) -> Iterator[Any]:
    with opened() as driver:
        driver.set_script_timeout(60)
        driver.get(f"http://localhost:{client.port}/")
        wait(driver, "document.body.dataset.ready")
        yield driver


def wait(driver: Any, condition: str) -> None:
    """Until it holds in the page."""
    met = driver.execute_async_script(f"""
        const done = arguments[0], end = Date.now() + 50000;
        (function look() {{
            if ({condition}) done(true); else if (Date.now() > end) done(false); else setTimeout(look, 20);
        }})();
    """)
    assert met, condition


def choose(driver: Any, task: str) -> None:
    driver.execute_script("document.querySelector(`#tasks [data-task=${arguments[0]}]`).click()", task)


def write(driver: Any, **texts: str) -> None:
    driver.execute_script(
        "for (const [name, text] of Object.entries(arguments[0])) setText($(`field-${name}`), text)", texts)


def ask(driver: Any) -> dict[str, str]:
    """Run what the form holds; the first output of each model."""
    driver.execute_script("$('ask').requestSubmit()")
    wait(driver, "document.querySelectorAll('.answer').length && !document.querySelectorAll('.answer.running').length")
    found: dict[str, str] = driver.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('.answer')].map(card => [card.dataset.model, "
        "card.querySelector('.made, .error').textContent]))")
    return found


def texts(driver: Any, selector: str) -> list[str]:
    found: list[str] = driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(one => one.textContent)", selector)
    return found


def test_models_answer_side_by_side_with_what_they_took_marked(page: Any, client: Client) -> None:
    choose(page, "summarization")
    text = "A large tree loads the 😀 red file. Count the words of each line."
    write(page, document=text)
    wanted = {one["name"]: one["answers"][0]["prediction"] for one in client.predict(
        rows=[{"document": text}], task="summarization")["models"]}
    assert ask(page) == wanted
    marked = texts(page, "[data-model=one] details .text mark")
    copied = client.predict(rows=[text], model="one")["models"][0]["answers"][0]["copied"]
    words = {word["start"]: word["text"] for word in copied}
    assert sorted(marked) == sorted(words.values()), "places hold after an emoji"
    page.execute_script("$('differences').click()")
    shown = page.execute_script("return document.querySelector('[data-model=two] .made').innerHTML")
    assert ("<ins>" in shown or "<del>" in shown) == (wanted["one"] != wanted["two"])
    page.execute_script("$('outputs').click()")
    assert page.execute_script("return document.querySelector('[data-model=two] .made').textContent") == wanted["two"]


def test_each_task_has_inputs_of_its_own(page: Any, client: Client) -> None:
    choose(page, "question_answering")
    assert texts(page, ".field label") == ["context", "question"]
    assert page.execute_script("return $('decoding').hidden"), "nothing is decoded"
    write(page, context="the red tree loads a file", question="what follows red")
    row = {"context": "the red tree loads a file", "question": "what follows red"}
    answer = client.predict(rows=[row], task="question_answering", evidence=True)["models"][0]
    assert ask(page) == {"every/question_answering": answer["evidence"][0]["prediction"]}
    choose(page, "classification")
    write(page, text="open the list")
    (label,) = ask(page).values()
    assert label in ("low", "middle", "high")
    assert page.execute_script("return document.querySelectorAll('.chances bdi').length") == 3


def test_settings_decode_the_models_that_write(page: Any, client: Client) -> None:
    choose(page, "summarization")
    shown = "return [$('num_beams').placeholder, $('max_new_tokens').placeholder]"
    assert page.execute_script(shown) == ["1", "6 / 4"], "each model's own"
    assert page.execute_script("return $('length_penalty').disabled")
    given = {"num_beams": 3, "num_return_sequences": 3, "max_new_tokens": 3}
    page.execute_script("""
        for (const [name, value] of Object.entries(arguments[0])) {
            $(name).value = value;
            $(name).dispatchEvent(new Event("input"));
        }""", given)
    assert not page.execute_script("return $('length_penalty').disabled")
    write(page, document="a large tree loads the red file")
    ask(page)
    (told,) = client.predict(rows=["a large tree loads the red file"], model="one", generation=given)["models"]
    shown = texts(page, "[data-model=one] .made")
    listed = [value for value in told["answers"][0].values() if isinstance(value, list) and isinstance(value[0], str)]
    assert [[text or "(nothing)" for text in several] for several in listed] == [shown] and len(shown) == 3
    page.execute_script("$('reset').click()")
    assert page.execute_script("return $('num_beams').value") == ""


def test_a_hostile_text_is_only_a_text(page: Any) -> None:
    choose(page, "summarization")
    page.execute_script("fill(form.examples.findIndex(one => one.inputs.document === arguments[0]))", HOSTILE)
    assert page.execute_script("return $('field-document').value") == HOSTILE
    title = page.title
    ask(page)
    assert page.execute_script("return $('reference').lastElementChild.textContent") == HOSTILE[:40]
    assert page.execute_script("return document.querySelector('.answer details .text').textContent") == HOSTILE
    assert page.title == title and texts(page, "main img, main script") == []
    write(page, document="x" * 100_001)
    assert all("demo.max_characters" in line for line in ask(page).values())
    assert page.execute_script("return $('status').textContent").endswith("models did not answer")


def test_a_dropped_file_is_read(page: Any) -> None:
    choose(page, "summarization")
    page.execute_script("""
        const files = new DataTransfer();
        files.items.add(new File(["a tree of words"], "a.txt", {type: "text/plain"}));
        const how = {dataTransfer: files, bubbles: true, cancelable: true};
        $('field-document').dispatchEvent(new DragEvent("drop", how));""")
    wait(page, "$('field-document').value === 'a tree of words'")


def test_it_works_by_keyboard_and_names_what_it_has(page: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    choose(page, "translation")
    field = page.find_element(By.ID, "field-source")
    field.clear()
    field.send_keys("tree of words")
    field.send_keys(Keys.CONTROL, Keys.ENTER)
    wait(page, "document.querySelectorAll('.answer:not(.running)').length")
    unnamed = page.execute_script("""
        const named = (one) => one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length;
        return [...document.querySelectorAll('button, input, textarea, select, a')]
            .filter((one) => one.offsetParent && !named(one)).map((one) => one.outerHTML)""")
    assert unnamed == []
    reached = []
    page.execute_script("document.querySelector('.skip').focus()")
    for _ in range(15):
        page.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(page.execute_script("return document.activeElement.id || document.activeElement.textContent"))
    assert {"theme", "translation", "next", "field-source", "run"} <= set(reached), reached


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_can_be_read(width: str, theme: str, page: Any) -> None:
    page.execute_script("setTheme(arguments[0])", theme)
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                         {"width": WIDTHS[width], "height": 900, "deviceScaleFactor": 1, "mobile": width == "phone"})
    try:
        choose(page, "summarization")
        write(page, document="a large tree loads the red file " + "x" * 300)
        ask(page)
        assert page.execute_script("return document.documentElement.scrollWidth") <= WIDTHS[width]
        assert page.execute_script(CONTRAST) == []
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_script("setTheme('auto')")


CONTRAST = """
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const rgb = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return canvas.getImageData(0, 0, 1, 1).data;
    };
    const linear = (value) => value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const behind = (one) => {
        for (; one; one = one.parentElement) {
            const found = rgb(getComputedStyle(one).backgroundColor);
            if (found[3] === 255) return found;
        }
        return [255, 255, 255];
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), poor = new Set();
    while (walker.nextNode()) {
        const one = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
        if (!text || !one.checkVisibility() || one.closest(".skip, script, noscript, :disabled")) continue;
        const both = [rgb(getComputedStyle(one).color), behind(one)].map(luminance).sort((a, b) => b - a);
        const contrast = (both[0] + 0.05) / (both[1] + 0.05);
        if (contrast < 4.5) poor.add(`${one.tagName}.${one.className} ${contrast.toFixed(2)} ${text.slice(0, 30)}`);
    }
    return [...poor];
"""  # WCAG 2.2, 1.4.3


def test_the_docs_try_a_request(page: Any, client: Client) -> None:
    page.get(f"http://localhost:{client.port}/docs")
    wait(page, "document.body.dataset.ready")
    page.execute_script("$('send').click()")
    wait(page, "$('answer').textContent.startsWith('200')")
    assert texts(page, "h2 code") == ["POST /predict", "GET /models", "GET /healthz"]


def test_nothing_was_told_on_the_console_and_nothing_fetched_from_elsewhere(page: Any, client: Client) -> None:
    assert [line for line in problems(page) if "status of 413" not in line] == []  # a text that is too long is refused
    asked = [url for url in requests_of(page) if not url.startswith(("data:", "chrome"))]
    assert asked and all(url.startswith(f"http://localhost:{client.port}/") for url in asked)
