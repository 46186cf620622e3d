"""The book as a reader's browser gets it: built without a warning, whole without a network, open to everyone.

The chapters in `book/chapters` are used where all of them are there; else small stand-ins with the same
names, labels and kinds of output take their place, so that pages, links and style are tested in any state.
"""
from __future__ import annotations

import base64
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml

from inc_lib import tables

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
LABELS = {"01_lower_bound": "ch-lower-bound", "02_atomic_actions": "ch-atomic-actions",
          "03_e0_disentanglement": "ch-e0", "04_e1_realism": "ch-e1", "05_e2_implicit_clusters": "ch-e2",
          "06_e3_partitioning": "ch-e3", "07_e4_sampling": "ch-e4", "08_crowds": "ch-crowds",
          "09_scene_composition": "ch-scenes", "10_combinatorial_generalisation": "ch-composition",
          "11_clustered_generator": "ch-clustered", "12_dls_clustering": "ch-dls", "13_per_pixel": "ch-pixels",
          "14_your_dataset": "ch-your-dataset", "16_subspaces": "ch-subspaces",
          "17_without_labels": "ch-without-labels", "18_three_worlds": "ch-three-worlds", "19_atlas": "ch-atlas"}

# What a browser fetches by itself, and from which attribute. `a href` is not among them: a reader follows it.
FETCHED = {("script", "src"), ("img", "src"), ("img", "srcset"), ("source", "src"), ("source", "srcset"),
           ("video", "src"), ("audio", "src"), ("iframe", "src"), ("embed", "src"), ("object", "data"),
           ("image", "href"), ("use", "href")}
IDLE_LINKS = {"next", "prev", "index", "search", "canonical", "author", "copyright"}


# -- stand-ins for chapters ---------------------------------------------------------------------------------

THEORY = r"""
Take an encoder $h: O \to F$ and a generator $G_\theta: F \to O$.

$$
D = \bigcup_k \{x \in D : C_{\mathrm{sim}}(x) = k\}
$$ (eq-explicit)

$$
D \approx D'_i = \bigcup_{f \in G_i} \{G(h(o)) : o \in D \text{ and } \stackrel{G_{ik}}{=}(h(o))\}
$$ (eq-reconstructed)

$$
D \lesssim D'_i = \bigcup_{f \in G_i} \{G(z) : z \in \{f \cdot z_1, \ldots, f \cdot z_K\}\}
$$ (eq-implicit)

(assumption-h)=
(assumption-g1)=
(assumption-g2)=
(assumption-g3)=

## Assumptions

```{prf:theorem} Lower bound
:label: thm-lower-bound
If $h$ and $G$ are perfect for factor $i$, then $D \subseteq D'_i$:
{eq}`eq-implicit` holds what {eq}`eq-explicit` does.
```

```{prf:proof}
Every $x \in D$ has a code $h(x)$, and $G(h(x)) = x$ by {eq}`eq-reconstructed`.
```
"""

PRACTICE = """
```{admonition} What you will be able to do
:class: objectives
1. Say what an {term}`atomic action` is, and find one.
2. Read a {term}`co-occurrence matrix`.
```

```{admonition} Guess first
:class: predict
How many partitions will there be? See {prf:ref}`thm-lower-bound` and {cite:t}`locatello2020`.
```

```{admonition} What would refute it
:class: falsify
A purity under one half.
```

```{exercise} Fewer observations
:label: ex-%(tag)s-fewer
Run it with 300.
```

```{solution} ex-%(tag)s-fewer
:class: dropdown
It moves.
```
"""


def png(width: int, height: int, rgb: tuple[int, int, int]) -> str:
    """A plain picture as a data address."""
    rows = b"".join(b"\0" + bytes(rgb) * width for _ in range(height))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
              (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
                    for name, data in chunks)
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def stand_in(slug: str) -> nbformat.NotebookNode:
    """A chapter with the labels, boxes and outputs of a real one, and next to no content."""
    picture = '<img class="{}" {} width="900" alt="Stand-in: ten bars of equal height" src="{}">'
    figure = ('<figure class="inc"><div class="inc-pictures">'
              + picture.format("only-light", "", png(1800, 500, (0, 114, 178)))
              + picture.format("only-dark", 'style="display:none"', png(1800, 500, (108, 182, 236)))
              + "</div><figcaption>All ten are equal.</figcaption></figure>")
    names = "".join(f"<th>{name}</th>" for name in tables.FACTORS)
    table = ('<figure class="inc"><div class="inc-scroll"><table class="inc-table">'
             f'<thead><tr><th class="inc-text">factor</th>{names}</tr></thead>'
             f'<tbody><tr><td class="inc-text">F1</td>{"<td>0.98</td>" * 6}</tr></tbody></table></div>'
             "<figcaption>Each is high.</figcaption></figure>")
    cell, text = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    outputs = [nbformat.v4.new_output("display_data", {"text/html": html, "text/plain": "figure"})
               for html in (figure, table)]
    number, name = slug.split("_", 1)
    body = THEORY if slug.startswith("01") else PRACTICE % {"tag": LABELS[slug].removeprefix("ch-")}
    said = nbformat.v4.new_output("stream", name="stdout", text="contract: bars 10\n")
    title = f"# {int(number)} · {name.replace('_', ' ').capitalize()}"
    cells = [text(f"({LABELS[slug]})=\n{title}\n\nA stand-in."),
             text('<p class="inc-stamp">cpu; a processor with 2 cores; 12 s; commit 0123456789</p>'),
             cell('profile: str = "smoke"   # name of the scale', execution_count=1,
                  metadata={"tags": ["parameters"]}),
             text(body),
             cell("figure = plots.bars(values)\nc.show(figure, 'All ten are equal.')", execution_count=2,
                  outputs=outputs),
             cell("print('contract: bars 10')", execution_count=3, outputs=[said])]
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3"},
             "language_info": {"name": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=about)


def records(folder: Path) -> None:
    """Made-up records, so that the tables of the results page are rendered too."""
    slugs = [tables.slug(name) for name in tables.FACTORS]
    kinds = {"04_e1_realism": ["f1", "oracle_f1"],
             "06_e3_partitioning": [f"{score}_{by}" for score in ("purity", "nmi") for by in tables.METHODS],
             "07_e4_sampling": [f"e4_{variant}" for variant in tables.CONDITIONS]}
    numbers = {chapter: {f"{kind}_{s}": 0.5 for kind in some for s in slugs}
               for chapter, some in kinds.items()}
    numbers["03_e0_disentanglement"] = {"dci_disentanglement_boosting": 0.5, "beta_tcvae__mig": 0.5}
    for seed in range(3):
        for chapter, values in numbers.items():
            record = {"chapter": chapter, "profile": "cpu", "dataset": "shapes3d-twin", "model": "ada-gvae",
                      "seed": seed, "numbers": values, "provenance": {"device": "stand-in"}}
            path = folder / "cpu" / "shapes3d-twin" / "ada-gvae" / f"s{seed}" / f"{chapter}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(record))


def assemble(target: Path) -> Path:
    """The book's sources with chapters in place and markers replaced, as `inc_lib.book` leaves them."""
    source = target / "source"
    shutil.copytree(BOOK, source, ignore=shutil.ignore_patterns("_build", ".ipynb_checkpoints"))
    (source / "chapters").mkdir(exist_ok=True)
    listed = re.findall(r"chapters/(\w+)", (source / "_toc.yml").read_text())
    if not all((source / "chapters" / f"{slug}.ipynb").exists() for slug in listed):
        for slug in listed:
            nbformat.write(stand_in(slug), source / "chapters" / f"{slug}.ipynb")
    if not (source / "your_data.md").exists():
        (source / "your_data.md").write_text("# Your own data\n\nA stand-in.\n")
    records(target / "results")
    status = "| Chapter | Profile | Time |\n|---|---|--:|\n| stand-in | cpu | 1 s |"
    results = tables.results_markdown(target / "results")
    for page, mark, text in (("status", "<!-- status-table -->", status),
                             ("results", "<!-- results-tables -->", results)):
        path = source / f"{page}.md"
        before = path.read_text(encoding="utf-8")
        assert mark in before, f"{page}.md has lost its marker {mark}"
        path.write_text(before.replace(mark, text), encoding="utf-8")
    return source


def build(source: Path) -> Path:
    """Run Jupyter Book with warnings as errors; returns the folder of the site."""
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(source),
               "--path-output", str(source.parent), "--all", "-W", "-n", "--keep-going"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          env={**os.environ, "PYTHONUTF8": "1", "http_proxy": "http://127.0.0.1:9",
                               "https_proxy": "http://127.0.0.1:9"})
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    warned = "\n".join(line for line in said.splitlines() if "WARNING" in line or "ERROR" in line)
    assert done.returncode == 0, f"the book does not build:\n{warned or said[-3000:]}"
    return source.parent / "_build" / "html"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return build(assemble(tmp_path_factory.mktemp("book")))


class Page(HTMLParser):
    """What a page fetches, its pictures and its inline code."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.lang, self._in = path, "", ""
        self.fetched: list[str] = []
        self.pictures: list[tuple[str, str | None]] = []
        self.inline: list[tuple[str, str]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self._in = tag if tag in ("script", "style") else ""
        if tag == "html":
            self.lang = given.get("lang", "")
        for name, value in given.items():
            linked = tag == "link" and name == "href" and given.get("rel") not in IDLE_LINKS
            if linked or (tag, name.removeprefix("xlink:")) in FETCHED:
                self.fetched.append(value or "")
            if name == "style":
                self.inline.append(("style", value or ""))
        if tag == "img":
            self.pictures.append((given.get("src", "")[:80], given.get("alt")))
        if tag == "svg" and given.get("role") == "img":
            self.pictures.append(("inline svg", given.get("aria-label")))

    def handle_data(self, data):
        if self._in:
            self.inline.append((self._in, data))

    def handle_endtag(self, tag):
        self._in = ""


@pytest.fixture(scope="module")
def all_pages(site) -> list[Page]:
    found = [Page(path) for path in sorted(site.rglob("*.html"))
             if "_static" not in path.parts and path.name != "index.html"]  # which only leads to the first
    assert len(found) >= 15
    return found


def css_addresses(text: str) -> list[str]:
    """What a style sheet fetches."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return re.findall(r"url\(\s*['\"]?([^'\")]+)", text) + re.findall(r"@import\s+['\"]([^'\"]+)", text)


def is_external(address: str) -> bool:
    return address.startswith("//") or urlsplit(address).scheme in ("http", "https", "ws", "wss", "ftp")


# -- without a network ---------------------------------------------------------------------------------------

def test_no_page_fetches_anything_from_elsewhere(all_pages):
    fetched = [(page.path.name, address) for page in all_pages for address in page.fetched]
    styles = [(page.path.name, text) for page in all_pages for kind, text in page.inline if kind == "style"]
    fetched += [(name, address) for name, text in styles for address in css_addresses(text)]
    assert not {(name, address) for name, address in fetched if is_external(address)}


def test_no_inline_script_names_another_site(all_pages):
    named = {(page.path.name, found) for page in all_pages for kind, text in page.inline if kind == "script"
             for found in re.findall(r"""["'](?:https?:)?//[^"']+""", text)}
    assert not named


def test_no_style_sheet_fetches_anything_from_elsewhere(site):
    external = {(path.name, address) for path in site.rglob("*.css")
                for address in css_addresses(path.read_text(encoding="utf-8")) if is_external(address)}
    assert not external


def test_everything_a_page_fetches_is_there(all_pages):
    absent = set()
    for page in all_pages:
        for address in page.fetched:
            if address and not address.startswith(("data:", "#")) and not is_external(address):
                target = (page.path.parent / unquote(urlsplit(address).path)).resolve()
                if not target.is_file():
                    absent.add((page.path.name, address))
    assert not absent


def test_links_between_pages_lead_somewhere(site, all_pages):
    broken = set()
    for page in all_pages:
        for address in re.findall(r'<a[^>]*\shref="([^"]+)"', page.path.read_text(encoding="utf-8")):
            parts = urlsplit(address)
            if parts.scheme or not parts.path or page.path.name in ("genindex.html", "search.html"):
                continue
            if not (page.path.parent / unquote(parts.path)).resolve().is_file():
                broken.add((page.path.name, address))
    assert not broken


def test_formulas_are_drawn_by_the_file_that_lies_in_the_site(site):
    page = next(iter(site.rglob("01_lower_bound.html")))
    (address,) = [found for found in Page(page).fetched if "mathjax" in found.lower()]
    assert (page.parent / urlsplit(address).path).resolve() == site / "mathjax" / "tex-svg-full.js"
    assert (site / "mathjax" / "LICENSE").is_file()


# -- for everyone --------------------------------------------------------------------------------------------

def test_every_picture_says_what_it_shows(all_pages):
    silent = {(page.path.name, source) for page in all_pages for source, alt in page.pictures
              if not (alt or "").strip()}
    assert not silent


def test_every_page_tells_its_language(all_pages):
    assert {page.lang for page in all_pages} == {"en"}


def test_tables_of_the_results_page_are_rendered(site):
    text = (site / "results.html").read_text(encoding="utf-8")
    assert "results-tables" not in text and text.count("<table") >= 4 and "published 3DShapes" in text


def test_the_configuration_executes_nothing():
    config = yaml.safe_load((BOOK / "_config.yml").read_text())
    assert config["execute"]["execute_notebooks"] == "off"


# -- the worked examples of the contributors' pages ----------------------------------------------------------

def blocks(page: str) -> list[str]:
    text = (BOOK / "contributing" / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.S | re.M)


@pytest.mark.parametrize("page", ["world", "model", "chapter"])
def test_the_worked_example_runs_as_it_stands(page, monkeypatch, tmp_path):
    from inc_lib import models

    monkeypatch.setenv("INC_RESULTS", str(tmp_path))
    monkeypatch.setattr(models, "MODELS", dict(models.MODELS))
    exec(compile("\n".join(blocks(page)), f"{page}.md", "exec", dont_inherit=True), {"__name__": page})


# -- in a browser, where there is one ------------------------------------------------------------------------

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def browse(path: Path, profile: Path) -> str:
    """The page as Chromium has it after its scripts have run, without any network."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic",
               "--disable-background-networking", "--disable-component-update", "--disable-sync",
               "--host-resolver-rules=MAP * ~NOTFOUND", "--allow-file-access-from-files",
               f"--user-data-dir={profile}", "--virtual-time-budget=20000", "--dump-dom", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@needs_browser
def test_formulas_render_with_the_network_off(site, tmp_path):
    page = next(iter(site.rglob("01_lower_bound.html")))
    written = len(re.findall(r'class="math notranslate', page.read_text(encoding="utf-8")))
    dom = browse(page, tmp_path)
    drawn = len(re.findall(r"<mjx-container", dom))
    assert written and drawn >= written
    assert "mjx-merror" not in dom and "data-mjx-error" not in dom


@needs_browser
def test_no_page_scrolls_sideways_on_a_phone(site, tmp_path):
    names = [path.relative_to(site).as_posix() for path in sorted(site.rglob("*.html"))
             if "_static" not in path.parts and path.name not in ("genindex.html", "search.html")]
    frame = '<iframe src="{0}" data-name="{0}" style="width:360px;height:800px"></iframe>'
    measure = site / "measure.html"
    frames = "".join(map(frame.format, names))
    measure.write_text(f"""<!doctype html><body>{frames}<pre id="out"></pre><script>
        const width = f => [f.dataset.name, f.contentDocument.documentElement.scrollWidth];
        const all = () => [...document.querySelectorAll("iframe")].map(width);
        const tell = () => out.textContent = JSON.stringify(all());
        onload = () => setTimeout(tell, 5000);</script>""")
    widths = dict(json.loads(re.search(r'<pre id="out">(.*?)</pre>', browse(measure, tmp_path))[1]))
    measure.unlink()
    assert set(widths) == set(names)
    assert {name: width for name, width in widths.items() if width > 360} == {}
