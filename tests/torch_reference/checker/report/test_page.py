"""The page of a report: its text, and how a real browser shows it."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

pytest.importorskip("torch")
from browser import chromium

from torch_reference import crosscheck

HOSTILE = "</script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def report():
    rng = np.random.default_rng(0)
    inputs = {
        "weight": rng.normal(size=(40, 30)),
        "bias": rng.normal(size=5),
        "kink": np.zeros(3),
        HOSTILE: rng.normal(size=4),
    }

    def manual(**given):
        gradients = {name: 2 * value for name, value in given.items()}
        gradients["weight"] = 32 * gradients["weight"]
        gradients["kink"] = np.full(3, 0.5)
        gradients[HOSTILE][1] = np.nan
        return gradients

    def reference(kink, **others):
        return kink.relu().sum() + sum((value**2).sum() for value in others.values())

    return crosscheck(manual, reference, inputs)


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    report.save(path)
    return path


class Tags(HTMLParser):
    """The tags of a page, and whether each is closed in order."""

    VOID = frozenset({"meta", "link", "img"})

    def __init__(self, text):
        super().__init__()
        self.found, self.stack = [], []
        self.feed(text)
        assert not self.stack

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(page):
    text = page.read_text(encoding="utf-8")
    tags = Tags(text).found
    assert "script" not in {tag for tag, _ in tags}
    sources = [value for _, attributes in tags for key, value in attributes.items() if key in {"src", "href"}]
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"url\(|@import", text)
    assert all(attributes["alt"] for tag, attributes in tags if tag == "img")


def test_every_verdict_has_words_and_a_sign(page):
    text = page.read_text(encoding="utf-8")
    assert "2 of 4 gradients agree with autograd" in text
    for sign, code in [("✓", "match"), ("!", "kink"), ("✗", "scale"), ("✗", "nonfinite")]:
        assert f'<span aria-hidden="true">{sign}</span> {code}</span>' in text
    assert "manual = 32 * right gradient" in text
    assert text.count("<img") == 6  # three panels for each of two wrong gradients


def test_a_notebook_shows_the_fragment_with_its_style(report):
    html = report._repr_html_()
    assert "<html" not in html
    Tags(html)
    assert html.startswith("<style>")
    assert "manual = 32 * right gradient" in html
    assert set(re.findall(r"^\.?(\w+)", html[: html.index("</style>")], re.MULTILINE)) <= {"crosscheck"}


def contrast(one, other):
    """The contrast of two colours by WCAG 2.2, from 1 to 21."""

    def luminance(colour):
        parts = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (360, False)])
def test_a_browser_shows_the_page(page, width, dark):
    with chromium(width=width, dark=dark) as browser:
        browser.get(page.as_uri())
        assert browser.get_log("browser") == []
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        text, back = browser.execute_script(
            "const style = getComputedStyle(document.body);"
            "const probe = document.createElement('p'); probe.style.background = 'Canvas'; document.body.append(probe);"
            "return [style.color, getComputedStyle(probe).backgroundColor]"
        )
        assert contrast(text, back) > 7
        assert (sum(map(int, re.findall(r"\d+", back)[:3])) < 3 * 128) == dark
        loaded = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
        assert len(loaded) == 6
        assert min(loaded) > 100


def test_keyboard_and_screen_reader_reach_the_table(page):
    with chromium(width=360) as browser:
        browser.get(page.as_uri())
        from selenium.webdriver.common.keys import Keys

        browser.switch_to.active_element.send_keys(Keys.TAB)
        assert browser.switch_to.active_element.get_attribute("aria-label") == "verdicts"
        nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if "role" in node]
        assert ("table", "2 of 4 gradients agree with autograd") in named
        assert ("columnheader", "verdict") in named
        assert any(role == "rowheader" and name.startswith("weight") for role, name in named)
        assert any(role == "image" and name.startswith("weight: image of manual / autograd") for role, name in named)
