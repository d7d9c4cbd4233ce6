"""Every page in a real Chromium: what a visitor does, with the mouse and without, in both colour schemes and on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.pipeline.serve.test_serve_pairs import ledger, rows


@contextmanager
def visit(browser: Browser, width: int = 1280, scheme: Any = "light") -> Iterator[Page]:
    """A page; at the end nothing may have been said on the console."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, said = context.new_page(), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.set_default_timeout(30_000)
    yield page
    assert said == []
    context.close()


def light_of(page: Page, selector: str, name: str) -> float:
    """WCAG's relative luminance of a computed colour."""
    colour = page.eval_on_selector(selector, f"element => getComputedStyle(element).{name}")
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(page: Page, selector: str, behind: str) -> float:
    darker, lighter = sorted((light_of(page, selector, "color"), light_of(page, behind, "backgroundColor")))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_fits_and_can_be_read(chromium: Browser, address: str, shelf: Path, width: int, scheme: str) -> None:
    key = rows(shelf / "merged", "dataset")[0]["key"]
    with visit(chromium, width, scheme) as page:
        for path in (
            "/",
            "/runs/merged",
            "/runs/merged/pairs",
            f"/runs/merged/pairs/{key}",
            "/runs/merged/sql",
            "/runs/hostile/pairs",
        ):
            page.goto(address + path, wait_until="networkidle")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            assert page.title().endswith("zhclip") and page.locator("h1").count() == 1
            assert page.evaluate("[...document.images].filter(one => one.complete && !one.naturalWidth).length") == 0
            assert contrast(page, "body", "body") > 7
            assert (light_of(page, "body", "backgroundColor") < 0.1) == (scheme == "dark")
            if page.locator(".soft").count():
                assert contrast(page, ".soft", "body") > 4.5
            for state in ("published", "rejected"):
                if page.locator(f".badge.{state}").count():
                    assert contrast(page, f".badge.{state}", f".badge.{state}") > 4.5


def test_search_filter_and_paging(chromium: Browser, address: str, shelf: Path) -> None:
    planned = rows(shelf / "merged", "plan")
    with visit(chromium) as page:
        page.goto(f"{address}/runs/merged/pairs")
        page.get_by_label("Search").fill("背景")
        page.get_by_role("button", name="Search").click()
        everything = planned + ledger(shelf / "merged", "filter")
        expected = sum("背景" in row["caption"] for row in everything)
        expect(page.get_by_role("status")).to_contain_text(f"{expected:,} pairs")
        assert set(page.url.split("?")[1].split("&")) == {"q=%E8%83%8C%E6%99%AF"}  # nothing empty in the address
        page.get_by_label("Show").select_option("published")
        expect(page.locator(".badge.rejected")).to_have_count(0)
        page.get_by_label("Source").select_option("coco")
        page.wait_for_url("**source=coco**")
        expect(page.locator(".card .meta").first).to_contain_text("coco")
        page.get_by_role("link", name="Clear").click()
        page.wait_for_url("**/pairs")
        first = page.locator(".card a").first.get_attribute("href")
        page.get_by_role("link", name="Next page").click()
        page.wait_for_url("**after=**")
        assert page.locator(".card a").first.get_attribute("href") != first
        page.get_by_role("link", name="Page before").click()
        page.wait_for_url("**before=**")
        assert page.locator(".card a").first.get_attribute("href") == first


def test_one_pair(chromium: Browser, address: str, shelf: Path) -> None:
    dropped = next(row for row in ledger(shelf / "merged", "select") if "near_duplicate_image" in row["reasons"])
    with visit(chromium) as page:
        page.goto(f"{address}/runs/merged/pairs/{dropped['key']}")
        assert page.eval_on_selector(".picture img", "image => image.naturalWidth") == 224
        assert page.locator(".words").inner_text() == dropped["caption"]
        expect(page.locator(".story li.dropped")).to_contain_text("near_duplicate_image")
        page.get_by_text("Score", exact=True).last.click()
        expect(page.locator("details[open] dt", has_text=re.compile("^image_hash$"))).to_be_visible()
        page.locator(".story li.dropped p.soft a").click()
        page.wait_for_url(f"**/{dropped['detail'].partition(',')[0]}")


def test_sql(chromium: Browser, address: str) -> None:
    with visit(chromium) as page:
        page.goto(f"{address}/runs/merged/sql")
        page.get_by_role("link", name="Why were pairs dropped?").click()
        page.wait_for_url("**/sql?query=*")  # before that, keys go to the page that is left
        page.get_by_label("One query").press("Control+Enter")
        expect(page.locator("table.answer")).to_contain_text("near_duplicate_image")
        page.get_by_label("One query").fill("select key, caption from pairs order by key limit 1")
        page.get_by_role("button", name="Run").click()
        page.locator("table.answer a").click()
        page.wait_for_url("**/pairs/*")
        page.go_back()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download CSV").click()
        assert download.value.suggested_filename == "merged.csv"


def test_an_error_in_sql_is_told(chromium: Browser, address: str) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{address}/runs/merged/sql")
    page.get_by_label("One query").fill("select capshun from pairs")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_contain_text("caption")  # DuckDB guesses what was meant
    assert page.get_by_label("One query").input_value() == "select capshun from pairs"
    context.close()


def test_keys(chromium: Browser, address: str) -> None:
    with visit(chromium) as page:
        page.goto(f"{address}/runs/finished/pairs")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        assert page.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "q"
        page.keyboard.type("n/p")
        assert page.locator("#q").input_value() == "n/p"
        page.keyboard.press("Escape")
        page.keyboard.press("n")
        page.wait_for_url("**after=**")
        page.keyboard.press("ArrowRight")
        page.wait_for_function("document.querySelector('a[rel=prev]')")
        page.keyboard.press("p")
        page.wait_for_url("**before=**")
        page.keyboard.press("g")
        page.keyboard.press("s")
        page.wait_for_url("**/sql")
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "query"
        page.keyboard.press("Escape")
        page.keyboard.press("g")
        page.keyboard.press("r")
        page.wait_for_url("**/runs/finished")
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"


def test_a_run_that_is_at_work_renews_itself(chromium: Browser, address: str) -> None:
    with visit(chromium) as page:
        page.goto(f"{address}/runs/planned", wait_until="networkidle")
        expect(page.locator("#reasons")).to_contain_text("caption_too_long")
        page.evaluate("document.querySelector('#progress').dataset.old = 'yes'")
        expect(page.locator("#progress[data-old]")).to_have_count(0)


def test_a_report_runs_no_script(chromium: Browser, address: str) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{address}/runs/merged/report")
    assert page.locator("h1").inner_text() == "A report" and page.title() != "ran"
    context.close()


def test_hostile_captions(chromium: Browser, address: str, shelf: Path) -> None:
    keys = [row["key"] for row in rows(shelf / "hostile", "plan")[:6]]
    with visit(chromium, 390) as page:
        for path in ("/runs/hostile/pairs", *(f"/runs/hostile/pairs/{key}" for key in keys)):
            page.goto(address + path)
            assert "stolen" not in page.title() and page.evaluate("document.documentElement.scrollWidth") <= 390
        long = next(row["key"] for row in rows(shelf / "hostile", "plan") if len(row["caption"]) == 60_000)
        page.goto(f"{address}/runs/hostile/pairs/{long}")
        page.get_by_text("All 60,000 characters").click()
        assert len(page.locator(".all").inner_text()) == 60_000


def test_without_script(chromium: Browser, address: str) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/runs/finished/pairs")
    page.get_by_label("Search").fill("星")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".card").first).to_contain_text("星")
    page.goto(f"{address}/runs/finished")
    page.get_by_role("link", name="show them").click()
    expect(page.locator("table")).to_contain_text("caption_too_long")
    context.close()
