from html.parser import HTMLParser

from .reports import CHECK, SMALL, changed, left, report, shown, words


def test_a_model_without_weights_or_one_passed_through_is_told() -> None:
    printed = words(shown(report(note="holds maps", output=None, nbytes_after=None)))
    assert "weights none that a pass could take" in printed
    assert "note holds maps" in printed
    assert Page(report().to_html()).words


class Page(HTMLParser):
    """Collects the text of a page and checks that its tags nest."""

    VOID = ("meta", "br", "wbr")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.words: list[str] = []
        self.widths: list[str] = []
        self.feed(page)
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe"), "the page must be self-contained"
        self.widths += [value for name, value in attrs if name == "style" and value]
        self.stack += [] if tag in self.VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += [] if self.stack[-1:] == ["style"] else [data]


def test_the_page_is_well_formed_self_contained_and_has_the_same_numbers() -> None:
    whole = report(changed("a"), left("b"), verification=CHECK)
    page = Page(whole.to_html())
    printed = words(" ".join(page.words))
    for figure in (
        "8.4x",
        "2.36 MB \N{RIGHTWARDS ARROW} 1.00 kB",
        "0.25",
        SMALL,
        "21.4 dB",
        "0.9964",
        "not compared",
        "4 random feeds",
    ):
        assert figure in printed
    assert page.widths == ["width:100.00%", "width:0.04%"]
    assert "http" not in whole.to_html()


def test_names_are_escaped_in_the_page() -> None:
    page = report(changed("<script>alert(1)</script>"), model="a&b.onnx").to_html()
    assert "<script>" not in page
    assert "a&amp;b.onnx" in page
    Page(page)


def test_the_page_groups_like_weights_as_the_table_does() -> None:
    page = report(*(changed(f"layer.{index}.weight", error=index / 1000) for index in range(300))).to_html()
    printed = words(" ".join(Page(page).words))
    assert "layer.0.weight and 299 like it" in printed
    assert "layer.123.weight" in printed
    assert page.count("<td") < 40


def test_the_page_fits_a_narrow_window() -> None:
    page = report(changed("a" * 200)).to_html()
    assert "overflow-wrap: anywhere" in page
    assert page.count("<th>") + page.count('<th class="n">') == 6 + 3
    assert "th { text-align: left; white-space: nowrap" not in page
